"""The index of shards as a file, the marker of a prepared place, and the report's arithmetic."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from orchestrator.data.prepare import joined
from orchestrator.data.prepare_report import (
    Prices,
    RerunCost,
    dollars,
    make_report,
    report_from,
    report_lines,
)
from orchestrator.data.prepare_task import ShardRecord
from orchestrator.storage.manifest_file import write_manifest
from orchestrator.storage.prepared_place import (
    BEGUN,
    MARKER,
    Marker,
    check_free,
    check_not_unfinished,
    check_places,
    read_marker,
    write_marker,
)
from orchestrator.storage.shard_index_file import (
    index_name,
    index_to_parquet,
    read_shard_index,
    write_shard_index,
)
from prp_core.data.manifest import Manifest, VideoRecord
from prp_core.data.object_store import LocalStore
from prp_core.data.shards.index import ShardFile, ShardIndex, ShardSettings, ShardVideo
from prp_core.errors import UserError


def video(key: str, sizes: list[int], shard: int = 0) -> ShardVideo:
    return ShardVideo(
        key=key,
        shard=shard,
        offset=512,
        header_bytes=512,
        num_frames=len(sizes),
        sizes=np.array(sizes, dtype=np.uint32),
        crc32s=np.arange(len(sizes), dtype=np.uint32) + 4_000_000_000,
        sha256=f"sha of {key}",
        source_num_bytes=99,
        source_etag="etag",
        source_sha256="source",
    )


def index_of(*videos: ShardVideo) -> ShardIndex:
    return ShardIndex(
        ShardSettings(),
        (ShardFile("shards/a.tar", 10_000, "sha"),),
        {entry.key: entry for entry in videos},
    )


MARKER_VALUE = Marker(
    settings=ShardSettings(),
    plan_hash="12345678",
    index="i",
    manifest="m",
    source_uri="s3://bucket/videos",
    source_manifest_hash="h",
    num_shards=2,
    num_videos=3,
    num_frames=600,
    num_bytes=6_000,
)


def test_an_index_comes_back_as_it_was(tmp_path: Path) -> None:
    store, index = (
        LocalStore(tmp_path),
        index_of(video("b/µ.mp4", [7000, 513, 1]), video("a.mp4", [10])),
    )
    name = write_shard_index(index, store)
    assert name == index_name(index) == write_shard_index(index, store)
    again = read_shard_index(store, name)
    assert (again.settings, again.files, again.content_hash) == (
        index.settings,
        index.files,
        index.content_hash,
    )
    for key, entry in index.videos.items():
        there = again.videos[key]
        assert (
            there.offsets().tolist() == entry.offsets().tolist()
            and there.crc32s.tolist() == entry.crc32s.tolist()
        )
    assert again.videos["b/µ.mp4"].offsets().tolist() == [
        512,
        512 + 7168 + 512,
        512 + 7168 + 512 + 1024 + 512,
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"sizes": np.array([11], dtype=np.uint32)},
        {"offset": 0},
        {"sha256": "x"},
        {"source_etag": "x"},
    ],
    ids=str,
)
def test_an_index_that_was_changed_is_refused(change: dict[str, object], tmp_path: Path) -> None:
    store, index = LocalStore(tmp_path), index_of(video("a.mp4", [10]))
    name = write_shard_index(index, store)
    other = index_of(dataclasses.replace(index.videos["a.mp4"], **change))  # type: ignore[arg-type]
    store.write(name, index_to_parquet(other))
    with pytest.raises(
        UserError, match=f"{name} was changed: its content hash is {other.content_hash}"
    ):
        read_shard_index(store, name)


def test_what_is_no_index_is_refused(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    manifest = write_manifest(
        Manifest("file:///v", (VideoRecord(key="a", num_bytes=1, etag="e"),)), store
    ).rpartition("/")[2]
    store.write("shard-index-0123456789abcdef.parquet", b"PAR1 and nothing")
    with pytest.raises(UserError, match="is not an index of shards"):
        read_shard_index(store, "shard-index-0123456789abcdef.parquet")
    with pytest.raises(
        UserError, match="not an index of shards of this version, but another Parquet file"
    ):
        read_shard_index(store, manifest)
    with pytest.raises(UserError, match="is not there; copy the prepared place again"):
        read_shard_index(store, "shard-index-gone.parquet")


def test_shards_are_joined_without_a_gap_for_empty_ones() -> None:
    empty = ShardIndex(ShardSettings(), (), {})
    second = ShardIndex(
        ShardSettings(), (ShardFile("shards/b.tar", 5, "s"),), {"b": video("b", [3])}
    )
    whole = joined([index_of(video("a", [1])), empty, second], ShardSettings())
    assert [file.name for file in whole.files] == ["shards/a.tar", "shards/b.tar"]
    assert {key: entry.shard for key, entry in whole.videos.items()} == {"a": 0, "b": 1}


def test_a_marker_makes_the_place_and_another_version_is_refused(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    assert read_marker(store) is None
    write_marker(MARKER_VALUE, store)
    assert read_marker(store) == MARKER_VALUE
    assert (
        MARKER_VALUE.words == "jpeg-q90, 128 x 171, 3 videos in 2 shards, from s3://bucket/videos"
    )
    tree = json.loads((tmp_path / MARKER).read_text())
    for wrong in (json.dumps({**tree, "format": 2}), json.dumps({**tree, "more": 1}), "{"):
        store.write(MARKER, wrong.encode())
        with pytest.raises(UserError, match="prepared.json is not a marker of this version"):
            read_marker(store)


def test_a_place_is_free_when_empty_or_ours(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    check_free(store, "plan")
    check_not_unfinished(store)
    store.write(BEGUN, json.dumps({"plan_hash": "plan", "source_uri": "s3://videos"}).encode())
    check_free(store, "plan")
    with pytest.raises(
        UserError,
        match=r"shards of other videos or settings \(made from s3://videos, plan plan, not other\)",
    ):
        check_free(store, "other")
    with pytest.raises(UserError, match="whose shards are not finished"):
        check_not_unfinished(store)


@pytest.mark.parametrize(
    ("source", "place", "is_free"),
    [
        ("s3://b/videos", "s3://b/videos128", True),
        ("s3://b/videos", "s3://b/videos/128", False),
        ("s3://b/videos", "s3://b", False),
        ("file:///v", "file:///v", False),
        ("file:///v", "s3://b", True),
    ],
)
def test_places_lie_apart(source: str, place: str, is_free: bool) -> None:
    if is_free:
        assert check_places(source, place) is None
        return
    with pytest.raises(UserError, match="choose a place outside"):
        check_places(source, place)


def shard_record(number: int) -> ShardRecord:
    return ShardRecord(
        number=number,
        num_videos=2,
        num_frames=300,
        bytes_in=1000,
        num_gets=2,
        wall_seconds=9,
        cpu_seconds=1800,
        broken=(("x", "corrupt", "why"),),
    )


def test_the_report_says_what_it_took_and_takes_again() -> None:
    manifest = Manifest(
        "s3://b/place",
        (VideoRecord(key="x", num_bytes=1, etag="e", reason="corrupt", detail="why"),),
    )
    prices = Prices(cpu_hour=0.05, thousand_puts=0.005)
    records = [shard_record(0), shard_record(1)]
    report = make_report(
        "s3://b/place",
        MARKER_VALUE,
        manifest,
        records,
        num_reused_shards=1,
        wall_seconds=60,
        prices=prices,
    )
    assert (report.cpu_seconds, report.bytes_in, report.frames_per_cpu_second) == (
        3600,
        2000,
        600 / 3600,
    )
    assert (report.again.cpu_hours, report.again.gets, report.again.puts) == (1.0, 3, 9)
    assert report.again.dollars == pytest.approx(0.05 + 9 / 1000 * 0.005)
    assert report_from(json.loads(json.dumps(dataclasses.asdict(report)))) == report
    text = "\n".join(report_lines(report))
    for words in (
        "3 videos, 600 frames in 2 shards",
        "1 of them were finished before",
        "1.00 CPU-hours, 3 GETs, 9 PUTs, $0.05",
        "1 quarantined: 1 corrupt",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("prices", "expected"),
    [
        (Prices(), None),
        (Prices(cpu_hour=2.0), 3.0),
        (Prices(thousand_gets=0.4), 0.4),
        (Prices(cpu_hour=0.0), 0.0),
    ],
)
def test_money_is_only_spoken_of_when_prices_are_given(
    prices: Prices, expected: float | None
) -> None:
    again = RerunCost(cpu_hours=1.5, gets=1000, puts=0, bytes_read=0, bytes_written=0, dollars=None)
    assert dollars(again, prices) == expected
    with pytest.raises(UserError, match="must not be negative"):
        Prices(cpu_hour=-1)
