"""The tier of decoded frames by its config: its size, its folder and its cache key."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.config.cache_config import AUTOMATIC, CacheConfig
from orchestrator.config.run_config import RunConfig
from orchestrator.data.frame_tier import frames_capacity, through_frame_cache
from prp_core.data.cache.cached_frames import CachedFrames
from prp_core.data.loader_config import LoaderConfig
from prp_core.data.manifest import VideoRecord
from prp_core.data.object_store import LocalStore
from prp_core.data.video_source import VideoSource
from prp_core.errors import UserError


@pytest.mark.parametrize(
    ("configured", "free", "used", "expected"),
    [
        (0, 100, 0, 0),
        (7, 100, 50, 7),
        (AUTOMATIC, 100, 0, 25),
        (AUTOMATIC, 80, 20, 25),
        (AUTOMATIC, 0, 0, 1),
    ],
)
def test_the_size(configured: int, free: int, used: int, expected: int) -> None:
    assert frames_capacity(configured, free, used) == expected


def config_with(tmp_path: Path, frames: int, reader: str = "pyav") -> RunConfig:
    return RunConfig(
        cache=CacheConfig(dir=str(tmp_path), frames_capacity_bytes=frames),
        loader=LoaderConfig(reader=reader),
    )


def test_it_stands_before_the_source_or_not_at_all(tmp_path: Path) -> None:
    source = VideoSource(LocalStore(tmp_path / "videos"), None, LoaderConfig(num_decoders=1))
    assert (
        through_frame_cache(source, config_with(tmp_path / "cache", 0), made_from="s3://a")
        is source
    )
    assert not (tmp_path / "cache").exists()
    with closing(
        through_frame_cache(source, config_with(tmp_path / "cache", AUTOMATIC), made_from="s3://a")
    ) as cached:
        assert (
            isinstance(cached, CachedFrames)
            and (tmp_path / "cache" / "frames" / "objects").is_dir()
        )
        assert int((tmp_path / "cache" / "frames" / "capacity").read_text()) > 1 << 20
    assert config_with(tmp_path, 0).cache.folder == tmp_path


def test_frames_are_known_by_all_that_decides_their_pixels(tmp_path: Path) -> None:
    source = VideoSource(LocalStore(tmp_path / "videos"), None, LoaderConfig(num_decoders=1))
    record = VideoRecord(key="a", num_bytes=1, etag="e", num_frames=9)
    other_etag = VideoRecord(key="a", num_bytes=1, etag="f", num_frames=9)
    identities = set()
    for made_from, reader, video in (
        ("s3://a", "pyav", record),
        ("s3://b", "pyav", record),
        ("s3://a", "decord", record),
        ("s3://a", "pyav", other_etag),
    ):
        cached = through_frame_cache(
            source, config_with(tmp_path, 1 << 20, reader), made_from=made_from
        )
        assert isinstance(cached, CachedFrames)
        identities.add(cached.key(video).identity)
    assert len(identities) == 4


def test_a_wrong_size_is_refused() -> None:
    with pytest.raises(
        UserError,
        match=r"cache.frames_capacity_bytes = -2: must be a number of bytes, 0 \(keep no "
        r"decoded frames\) or -1",
    ):
        CacheConfig(frames_capacity_bytes=-2)


def test_the_cache_lies_where_the_config_says_else_where_the_node_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PRP_CACHE_DIR", "/scratch/cache")
    assert CacheConfig(dir="/nvme").folder == Path("/nvme")
    assert RunConfig().cache.folder == Path("/scratch/cache")
    monkeypatch.setenv("PRP_CACHE_DIR", "")
    assert RunConfig().cache.folder == Path.home() / ".cache" / "prp"
