"""A sweep given a manifest finds its videos, and refuses videos that have changed since."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.config.cache_config import CacheConfig
from orchestrator.config.run_config import load_config
from orchestrator.data.index import IndexJob, index
from orchestrator.sweep.corpus import Corpus, find_corpus
from prp_core.errors import UserError
from tests.tiny_corpus import MOTIONS, encode_motion


def test_a_manifest_alone_names_the_videos(tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    for number in range(2):
        encode_motion(
            videos / "down" / f"{number}.mp4", MOTIONS["down"], seed=number, num_frames=20
        )
    job = IndexJob(
        uri=videos,
        out_uri=tmp_path / "out",
        cache=CacheConfig(dir=str(tmp_path / "cache")),
        state_dir=tmp_path / "state",
        num_workers=1,
    )
    manifest, uri = index(job)
    config = load_config("demo", [f"source.manifest={uri}"])
    said: list[str] = []
    found = find_corpus(config.source, config, tmp_path / "home", "unused", said.append)
    assert found == Corpus(videos.as_uri(), uri, manifest)
    assert said == []
    encode_motion(videos / "down" / "1.mp4", MOTIONS["down"], seed=7, num_frames=20)
    with pytest.raises(
        UserError,
        match="of 2 videos 1 changed .'down/1.mp4' among them. since they were indexed; "
        "index again",
    ):
        find_corpus(config.source, config, tmp_path / "home", "unused", said.append)
    (videos / "down" / "1.mp4").unlink()
    with pytest.raises(UserError, match="1 gone"):
        find_corpus(config.source, config, tmp_path / "home", "unused", said.append)
