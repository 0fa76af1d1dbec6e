"""The probes of a corpus: by its folder or its manifest, and of the one that is judged on."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from orchestrator.config.run_config import load_config
from orchestrator.config.source_config import SourceConfig
from orchestrator.storage.manifest_file import write_manifest
from orchestrator.storage.open_store import open_store
from orchestrator.sweep.finding import Finding, Level
from orchestrator.sweep.video_probe import corpora_findings, videos_finding
from prp_core.data.manifest import Manifest, VideoRecord

CONFIG = load_config("demo")


def found(folder: Path) -> Finding:
    """What is found of the videos in `folder`."""
    return videos_finding(CONFIG, SourceConfig(uri=str(folder)))


def test_videos_that_decode_say_at_which_rates_and_broken_ones_say_why(
    tiny_videos: Path, tmp_path: Path
) -> None:
    good = found(tiny_videos)
    assert good.level == Level.OK, good
    assert (
        "3 of 3 sample videos decode; a clip of 8 frames can be drawn at rates 1 to " in good.text
    )
    first = next(iter(sorted(tiny_videos.rglob("*.mp4"))))
    shutil.copy(first, tmp_path / "b.mp4")
    (tmp_path / "a.mp4").write_bytes(b"no video")
    mixed = found(tmp_path)
    assert mixed.level == Level.WARNING and "a.mp4: not-a-video" in mixed.text
    (tmp_path / "b.mp4").unlink()
    broken = found(tmp_path)
    assert broken.level == Level.FAILURE and "none of 1 sample videos is usable" in broken.text
    assert "data index" in broken.advice
    (tmp_path / "a.mp4").unlink()
    assert "no video among the first objects" in found(tmp_path).text


def test_videos_that_only_need_to_be_prepared_and_those_that_are_gone_say_what_to_do(
    tiny_videos: Path, tmp_path: Path
) -> None:
    loader = replace(CONFIG.loader, max_pixels_decoded=1)
    source = SourceConfig(uri=str(tiny_videos))
    dear = videos_finding(replace(CONFIG, loader=loader), source)
    assert dear.level == Level.FAILURE and "needs-prepare" in dear.text
    assert f"data prepare {tiny_videos} DST" in dear.advice
    (tmp_path / "videos").mkdir()
    gone = VideoRecord(key="a.mp4", num_bytes=1, etag="a", num_frames=40)
    manifest = Manifest(uri=(tmp_path / "videos").as_uri(), records=(gone,))
    uri = write_manifest(manifest, open_store(tmp_path))
    missing = videos_finding(CONFIG, SourceConfig(manifest=uri))
    assert missing.level == Level.FAILURE and f"that {uri} names is there" in missing.text


def test_a_manifest_alone_and_the_corpus_that_is_judged_on_are_looked_at(
    tiny_videos: Path, tmp_path: Path
) -> None:
    first = next(iter(sorted(tiny_videos.rglob("*.mp4"))))
    (tmp_path / "videos").mkdir()
    shutil.copy(first, tmp_path / "videos" / "b.mp4")
    (tmp_path / "videos" / "a.mp4").write_bytes(b"not looked at: the manifest quarantines it")
    usable = VideoRecord(key="b.mp4", num_bytes=1, etag="b", num_frames=40)
    quarantined = replace(usable, key="a.mp4", reason="not-a-video")
    manifest = Manifest(uri=(tmp_path / "videos").as_uri(), records=(quarantined, usable))
    uri = write_manifest(manifest, open_store(tmp_path))
    judged = replace(CONFIG.eval_source, uri=str(tmp_path / "nothing"))
    config = replace(CONFIG, source=SourceConfig(manifest=uri), eval_source=judged)
    (trained, judging) = corpora_findings(config)
    assert (trained.what, trained.level) == ("videos", Level.OK)
    assert trained.text.startswith("1 of 1 sample videos decode")
    assert (judging.what, judging.level) == ("judging videos", Level.FAILURE)
    assert "nothing" in judging.text + judging.advice
