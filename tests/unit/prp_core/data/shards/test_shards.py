"""Shards: reproducible plain tar archives whose frames are read back singly and verified."""

from __future__ import annotations

import dataclasses
import io
import subprocess
import tarfile
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch

from prp_core.data.clip_config import ClipConfig
from prp_core.data.loader_config import LoaderConfig
from prp_core.data.manifest import Manifest, Parts, VideoRecord
from prp_core.data.object_store import LocalStore
from prp_core.data.shards import writing
from prp_core.data.shards.index import (
    ByteRange,
    ShardFile,
    ShardIndex,
    ShardSettings,
    check_size,
    kept_whole,
    merged_ranges,
    tar_header,
)
from prp_core.data.shards.jpeg_codec import decode_jpegs, encode_jpegs
from prp_core.data.shards.planning import estimated_bytes, plan_shards
from prp_core.data.shards.source import ShardSource
from prp_core.data.shards.writing import WrittenShard, frames_at_a_time, write_shard
from prp_core.data.transforms import resize_antialiased
from prp_core.data.video_source import VideoSource
from prp_core.encoders.encoder_config import EncoderConfig
from prp_core.errors import BrokenVideo, UserError
from prp_core.evaluation.evaluation_config import Evaluations
from prp_core.evaluation.protocol import videos_digest
from prp_core.evaluation.retrieval import Retrieval
from prp_core.evaluation.views import ViewsConfig
from prp_core.pretext.playback_rate import PlaybackRate
from prp_core.pretext.pretext_config import PretextTasks
from prp_core.reporting import MemoryReporter
from prp_core.training.checkpoint import CheckpointFolder
from prp_core.training.loop import pretrain
from prp_core.training.pretrain_config import PretrainConfig
from prp_core.training.pretrain_data import PretrainData
from prp_core.training.training_config import TrainingConfig
from prp_core.world import World
from tests.tiny_corpus import make_corpus, open_source
from tests.video_factory import make_video, picture, shown_numbers

LOADER = LoaderConfig(num_decoders=1)
SIZE = {"height": 64, "width": 96}
KINDS = {
    "jpeg": ShardSettings(**SIZE),
    "video": ShardSettings(kind="video", gop_length=8, **SIZE),
    "video of odd size": ShardSettings(kind="video", gop_length=5, height=63, width=95),
}
LONG_KEY = (
    "a class with a name that needs more than one hundred bytes, which a plain header "
    "cannot hold in its field/µ-video.mp4"
)


def records_of(folder: Path, num_frames: int) -> tuple[VideoRecord, ...]:
    return tuple(
        VideoRecord(
            key=info.key,
            num_bytes=info.num_bytes,
            etag=info.etag,
            num_frames=num_frames,
            width=96,
            height=64,
            sha256=f"of {info.key}",
        )
        for info in LocalStore(folder).list()
    )


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    make_video(folder / "a" / "first.mp4", 37, seed=1)
    make_video(folder / LONG_KEY, 37, seed=2)
    return folder


def write_anew(videos: Path, settings: ShardSettings, folder: Path) -> tuple[WrittenShard, Path]:
    """A shard of the two videos, and where it lies in `folder`."""
    path = folder / "shards" / "one.tar"
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoSource(LocalStore(videos), None, LOADER) as source, path.open("w+b") as file:
        return write_shard(source, records_of(videos, 37), settings, file, number=0), path


@cache
def written_once(videos: Path, settings: ShardSettings) -> tuple[WrittenShard, bytes]:
    with TemporaryDirectory() as folder:
        written, path = write_anew(videos, settings, Path(folder))
        return written, path.read_bytes()


def written_shard(videos: Path, settings: ShardSettings, folder: Path) -> tuple[WrittenShard, Path]:
    """What `write_anew` returns, as a copy of a shard that was written once for all tests."""
    written, data = written_once(videos, settings)
    path = folder / "shards" / "one.tar"
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    return written, path


def source_of(
    written: WrittenShard, settings: ShardSettings, folder: Path
) -> tuple[ShardSource, tuple[VideoRecord, ...]]:
    file = ShardFile("shards/one.tar", written.num_bytes, written.sha256)
    index = ShardIndex(settings, (file,), {video.key: video for video in written.videos})
    records = tuple(
        VideoRecord(
            key=v.key, num_bytes=v.num_bytes, etag="", num_frames=v.num_frames, sha256=v.sha256
        )
        for v in written.videos
    )
    return ShardSource(index, LocalStore(folder), None, LOADER), records


@pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)
def test_a_shard_is_a_plain_archive_with_entries_where_the_index_says(
    videos: Path, settings: ShardSettings, tmp_path: Path
) -> None:
    written, path = written_shard(videos, settings, tmp_path)
    assert path.stat().st_size == written.num_bytes and written.broken == ()
    entries = {}
    with tarfile.open(path) as archive:
        for member in archive:
            entries[member.name] = (member.offset_data, member.size)
    expected = {}
    for video in written.videos:
        for number, (offset, size) in enumerate(
            zip(video.offsets().tolist(), video.sizes.tolist(), strict=True)
        ):
            expected[f"{video.key}/{number * settings.frames_per_piece:06d}{settings.suffix}"] = (
                offset,
                size,
            )
    assert entries == expected
    assert len(entries) == 2 * -(-37 // settings.frames_per_piece)
    listed = subprocess.run(
        ["tar", "-tf", str(path), "--quoting-style=literal"],
        capture_output=True,
        check=True,
        env={"LC_ALL": "C.UTF-8"},
    )
    assert listed.stdout.decode().splitlines() == list(entries)


@pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)
def test_the_same_videos_make_the_same_bytes(
    videos: Path, settings: ShardSettings, tmp_path: Path
) -> None:
    first, path = write_anew(videos, settings, tmp_path / "first")
    second, again = write_anew(videos, settings, tmp_path / "second")
    assert path.read_bytes() == again.read_bytes()
    assert first.sha256 == second.sha256 and [video.sha256 for video in first.videos] == [
        video.sha256 for video in second.videos
    ]


@pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize(
    "positions",
    [(0,), (36,), tuple(range(37)), tuple(range(3, 37, 8)), (30, 2, 2, 17, 36, 0)],
    ids=str,
)
def test_the_wanted_frames_come_back(
    videos: Path, settings: ShardSettings, positions: tuple[int, ...], tmp_path: Path
) -> None:
    written, _ = written_shard(videos, settings, tmp_path)
    source, records = source_of(written, settings, tmp_path)
    for record, seed in zip(records, (2, 1), strict=True):  # the long key sorts first
        frames_NHWC = source.frames(record, positions)
        assert (
            frames_NHWC.shape == (len(positions), settings.height, settings.width, 3)
            and frames_NHWC.dtype == torch.uint8
        )
        if settings.height == 64:
            assert shown_numbers(frames_NHWC.numpy()) == list(positions)
        wanted = np.stack([picture(position, seed=seed) for position in positions])[
            :, : settings.height, : settings.width
        ]
        error = np.abs(frames_NHWC.numpy().astype(int) - wanted)
        assert error.mean() < 6, "hardly another picture"


def test_only_the_pieces_that_hold_the_frames_are_read_and_decoded(
    videos: Path, tmp_path: Path
) -> None:
    for kind, num_pieces in (("jpeg", 3), ("video", 2)):
        written, _ = written_shard(videos, KINDS[kind], tmp_path / kind)
        source, records = source_of(written, KINDS[kind], tmp_path / kind)
        source.frames(records[0], (9, 1, 14, 1))
        sizes = written.videos[0].sizes
        pieces = [1, 9, 14] if kind == "jpeg" else [0, 1]
        assert len(pieces) == num_pieces
        assert (
            source.counters["data/shard_bytes"] == sizes[pieces].sum()
            and source.counters["data/shard_frames"] == 3
        )


def test_frames_are_resized_once_as_training_would(videos: Path, tmp_path: Path) -> None:
    settings = ShardSettings(height=32, width=40, quality=100)
    written, _ = written_shard(videos, settings, tmp_path)
    source, records = source_of(written, settings, tmp_path)
    prepared_NCHW = resize_antialiased(source.frames(records[1], (5, 6)), 32, 40)
    with VideoSource(LocalStore(videos), None, LOADER) as originals:
        original = next(record for record in records_of(videos, 37) if record.key == records[1].key)
        wanted_NCHW = resize_antialiased(originals.frames(original, (5, 6)), 32, 40)
    assert (prepared_NCHW - wanted_NCHW).abs().mean() < 4 / 255


def test_a_flipped_byte_is_found_and_named(videos: Path, tmp_path: Path) -> None:
    written, path = written_shard(videos, KINDS["jpeg"], tmp_path)
    data = bytearray(path.read_bytes())
    data[int(written.videos[0].offsets()[5]) + 100] ^= 1
    path.write_bytes(data)
    source, records = source_of(written, KINDS["jpeg"], tmp_path)
    with pytest.raises(
        BrokenVideo,
        match="corrupt.*shards/one.tar: 1 pieces have the wrong checksum, from number 5",
    ):
        source.frames(records[0], (4, 5, 6))
    assert source.counters["data/shard_corrupt"] == 3, "each reading is counted"
    assert len(source.frames(records[0], (4, 6))) == 2


def test_a_shard_that_is_cut_or_gone_is_told_when_it_is_opened(
    videos: Path, tmp_path: Path
) -> None:
    written, path = written_shard(videos, KINDS["jpeg"], tmp_path)
    path.write_bytes(path.read_bytes()[:-512])
    with pytest.raises(
        UserError, match=r"shards/one.tar holds \d+ bytes, not \d+; copy the prepared place again"
    ):
        source_of(written, KINDS["jpeg"], tmp_path)
    path.unlink()
    with pytest.raises(UserError, match="shards/one.tar is not there"):
        source_of(written, KINDS["jpeg"], tmp_path)


def test_another_places_manifest_is_refused(videos: Path, tmp_path: Path) -> None:
    written, _ = written_shard(videos, KINDS["jpeg"], tmp_path)
    source, records = source_of(written, KINDS["jpeg"], tmp_path)
    with pytest.raises(UserError, match="the shards hold no video 'b'"):
        source.frames(dataclasses.replace(records[0], key="b"), (0,))
    with pytest.raises(UserError, match="the shards hold other bytes of"):
        source.frames(dataclasses.replace(records[0], sha256="else"), (0,))


def test_a_broken_video_leaves_nothing_in_the_shard(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its record states more frames than there are, so it breaks after some pieces."""
    monkeypatch.setattr(writing, "DECODED_BYTES_AT_A_TIME", 1)
    whole, path = write_anew(videos, KINDS["jpeg"], tmp_path / "whole")
    records = records_of(videos, 37)
    longer = dataclasses.replace(records[0], num_frames=200)
    with (
        VideoSource(LocalStore(videos), None, LOADER) as source,
        (tmp_path / "torn.tar").open("w+b") as file,
    ):
        torn = write_shard(source, (longer, records[1]), KINDS["jpeg"], file, number=0)
    assert [error.reason for error in torn.broken] == ["truncated"]
    assert [video.key for video in torn.videos] == [records[1].key]
    assert torn.videos[0].sha256 == whole.videos[1].sha256
    with tarfile.open(tmp_path / "torn.tar") as archive:
        assert {member.name.rpartition("/")[0] for member in archive} == {records[1].key}
    assert torn.num_bytes < whole.num_bytes == path.stat().st_size


def test_jpegs_survive_and_what_is_none_is_refused() -> None:
    frames_NHWC = np.stack([picture(number) for number in (3, 4)])
    jpegs = encode_jpegs(frames_NHWC, 90)
    decoded_NHWC = decode_jpegs(jpegs, 64, 96, torch.device("cpu"))
    assert shown_numbers(decoded_NHWC.numpy()) == [3, 4]
    from torchvision.io import ImageReadMode, decode_jpeg

    other_CHW = decode_jpeg(
        torch.frombuffer(bytearray(jpegs[0]), dtype=torch.uint8), mode=ImageReadMode.RGB
    )
    assert torch.equal(other_CHW.permute(1, 2, 0), decoded_NHWC[0]), (
        "two libraries, one libjpeg-turbo, the same pixels"
    )
    for wrong in (b"no picture", jpegs[0][:40]):
        with pytest.raises(ValueError):
            decode_jpegs([wrong], 64, 96, torch.device("cpu"))


def record(key: str, num_frames: int, **more: object) -> VideoRecord:
    return VideoRecord(key=key, num_bytes=10, etag="e", sha256=key, num_frames=num_frames, **more)


def test_shards_are_planned_by_size_in_the_order_of_keys() -> None:
    settings = ShardSettings(shard_bytes=1 << 20)
    frames_in_a_shard = (1 << 20) // estimated_bytes(record("x", 1), settings)
    records = [record(f"v{number}", frames_in_a_shard // 3) for number in range(7)] + [
        record("broken", 10, reason="truncated")
    ]
    plan = plan_shards(Manifest("file:///v", tuple(reversed(records))), settings)
    assert [[entry.key for entry in shard.records] for shard in plan] == [
        ["v0", "v1", "v2"],
        ["v3", "v4", "v5"],
        ["v6"],
    ]
    assert [shard.stem[:11] for shard in plan] == ["shard-00000", "shard-00001", "shard-00002"]
    huge = plan_shards(
        Manifest(
            "file:///v", (record("a", 5), record("b", 10 * frames_in_a_shard), record("c", 5))
        ),
        settings,
    )
    assert [[entry.key for entry in shard.records] for shard in huge] == [["a"], ["b"], ["c"]], (
        "a video is never divided"
    )


def test_another_input_or_setting_is_another_plan() -> None:
    manifest, settings = Manifest("file:///v", (record("a", 5), record("b", 5))), ShardSettings()
    name = plan_shards(manifest, settings)[0].plan_hash
    assert (
        plan_shards(Manifest("s3://elsewhere", manifest.records), settings)[0].plan_hash == name
    ), "the place does not matter"
    labelled = Manifest(
        "file:///v",
        tuple(dataclasses.replace(entry, label="x", split="test") for entry in manifest.records),
    )
    assert plan_shards(labelled, settings)[0].plan_hash == name, "nor do labels"
    for other in (
        {"quality": 91},
        {"height": 127},
        {"kind": "video"},
        {"shard_bytes": 1 << 20},
        {"reader": "decord"},
    ):
        assert plan_shards(manifest, dataclasses.replace(settings, **other))[0].plan_hash != name, (
            other
        )
    assert (
        plan_shards(Manifest("file:///v", (manifest.records[0], record("b", 6))), settings)[
            0
        ].plan_hash
        != name
    )


@pytest.mark.parametrize(
    ("ranges", "expected"),
    [
        ([(0, 10)], [(0, 10)]),
        ([(0, 10), (15, 10)], [(0, 25)]),
        ([(0, 10), (21, 10)], [(0, 10), (21, 10)]),
        ([(0, 10), (20, 10), (41, 10)], [(0, 30), (41, 10)]),
        ([(5, 200)], [(5, 200)]),
        ([(0, 60), (60, 60)], [(0, 60), (60, 60)]),
        ([], []),
    ],
)
def test_ranges_are_joined_over_small_gaps(
    ranges: list[tuple[int, int]], expected: list[tuple[int, int]]
) -> None:
    merged = merged_ranges([ByteRange(*item) for item in ranges], max_gap_bytes=10, max_bytes=100)
    assert [(item.start, item.num_bytes) for item in merged] == expected


@pytest.mark.parametrize(
    ("capacity", "expected"),
    [(0, set()), (19, set()), (20, {0}), (59, {0}), (60, {0, 1}), (10**6, {0, 1, 2})],
)
def test_a_node_keeps_what_half_of_its_cache_holds(capacity: int, expected: set[int]) -> None:
    files = [ShardFile("a", 10, ""), ShardFile("b", 20, ""), ShardFile("c", 30, "")]
    assert kept_whole(files, capacity) == expected


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"kind": "jpg"}, "kind of shard"),
        ({"quality": 0}, "quality = 0: JPEG's quality lies in 1 to 100"),
        ({"width": 8}, "width = 8: must lie in 16 to 4096 pixels"),
        ({"crf": 52}, "crf = 52"),
        ({"shard_bytes": 10}, "shard size = 10"),
    ],
)
def test_wrong_settings_are_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        ShardSettings(**values)  # type: ignore[arg-type]


def test_frames_larger_than_prepared_are_refused() -> None:
    check_size(ShardSettings(), 128, 171, "s3://b/p")
    check_size(ShardSettings(), 112, 112, "s3://b/p")
    with pytest.raises(
        UserError,
        match=r"clip.resize_height x clip.resize_width = 128 x 172, but s3://b/p holds frames "
        r"of 128 x 171; .*--width 172",
    ):
        check_size(ShardSettings(), 128, 172, "s3://b/p")


def test_headers_name_nobody_and_no_time() -> None:
    for name in ("a/000000.jpg", f"{LONG_KEY}/000000.jpg"):
        header = tar_header(name, 7)
        with tarfile.open(
            fileobj=io.BytesIO(header + b"content" + bytes(512 - 7 + 1024))
        ) as archive:
            member = archive.next()
        assert member is not None
        assert (
            member.name,
            member.size,
            member.mtime,
            member.uid,
            member.gid,
            member.uname,
            member.mode,
        ) == (name, 7, 0, 0, 0, "", 0o644)


def test_large_frames_are_decoded_a_few_at_a_time() -> None:
    assert frames_at_a_time(record("a", 9, width=320, height=240), ShardSettings()) == (
        96 << 20
    ) // (3 * 320 * 240)
    assert frames_at_a_time(record("a", 9, width=8000, height=4000), ShardSettings()) == 8
    assert (
        frames_at_a_time(
            record("a", 9, width=640, height=360), ShardSettings(kind="video", gop_length=12)
        )
        % 12
        == 0
    )


def prepared_corpus(folder: Path) -> tuple[ShardSource, Parts, Parts]:
    """(shards of the tiny corpus, its parts there, its parts as originals)."""
    parts = make_corpus(folder / "videos", num_train=8, num_val=4)
    settings = ShardSettings(height=36, width=40)
    path = folder / "shards" / "one.tar"
    path.parent.mkdir()
    with open_source(folder / "videos") as originals, path.open("w+b") as file:
        written = write_shard(originals, (*parts.train, *parts.val), settings, file, number=0)
    source, _ = source_of(written, settings, folder)
    prepared = tuple(
        tuple(
            dataclasses.replace(entry, sha256=source.index.videos[entry.key].sha256)
            for entry in part
        )
        for part in (parts.train, parts.val)
    )
    return source, Parts(*prepared, test=()), parts


def test_an_encoder_is_pretrained_from_shards_almost_as_from_videos(tmp_path: Path) -> None:
    source, prepared, original = prepared_corpus(tmp_path)
    config = PretrainConfig(
        encoder=EncoderConfig(name="c3d_small"),
        pretext=PretextTasks(playback_rate=PlaybackRate(rates="1-2-4")),
        clip=ClipConfig(length=8, resize_height=36, resize_width=40, crop=32),
        training=TrainingConfig(num_epochs=1, batch_size=4, first_rung_epochs=1, log_every_steps=1),
        evaluation=Evaluations(
            views=ViewsConfig(num_clips=2, clip_length=8), retrieval=Retrieval(ks="1-2")
        ),
        loader=LOADER,
    )
    losses = {}
    with open_source(tmp_path / "videos") as videos:
        for name, data in (
            ("shards", PretrainData(source, prepared)),
            ("videos", PretrainData(videos, original)),
        ):
            reporter = MemoryReporter()
            checkpoints = CheckpointFolder(LocalStore(tmp_path / name))
            outcome = pretrain(
                config, data, World.alone(), checkpoints=checkpoints, reporter=reporter
            )
            assert outcome.last_epoch == 1
            losses[name] = [value for _, value in reporter.series("train/loss")]
            if name == "shards":
                assert (
                    dict(reporter.series("data/shard_frames"))[2] > 0
                    and dict(reporter.series("data/quarantined"))[2] == 0
                )
    assert losses["shards"] == pytest.approx(losses["videos"], rel=0.05)
    assert losses["shards"] != losses["videos"], "JPEG pixels are other pixels"
    hashes = {videos_digest((*parts.train, *parts.val)) for parts in (prepared, original)}
    assert len(hashes) == 2, "figures from shards and from originals do not compare"
