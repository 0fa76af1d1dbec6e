"""Preparing real videos into shards: on S3, through SIGKILL, and read over a faulty network."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.commands.data.manifests import print_summary
from orchestrator.commands.prp import main
from orchestrator.config.cache_config import CacheConfig
from orchestrator.config.run_config import RunConfig, load_config, parse_config
from orchestrator.config.source_config import SourceConfig
from orchestrator.config.store_config import StoreConfig
from orchestrator.config.typed_command import prp
from orchestrator.data.index import IndexJob, index
from orchestrator.data.label_source import LabelSource
from orchestrator.data.open_data import open_source
from orchestrator.data.prepare import PrepareProgress, in_this_process, prepare
from orchestrator.data.prepare_report import Prices
from orchestrator.data.prepare_task import PrepareJob, make_shard, read_record, record_name
from orchestrator.storage.open_store import open_store
from orchestrator.storage.prepared_place import MARKER, Marker, read_index, read_marker
from orchestrator.sweep.corpus import check_prepared
from orchestrator.sweep.finding import Level
from orchestrator.sweep.video_probe import videos_finding
from prp_core.data.loader_config import LoaderConfig
from prp_core.data.manifest import Manifest, parts
from prp_core.data.object_store import LocalStore, ObjectStore
from prp_core.data.shards.index import ShardSettings
from prp_core.data.shards.planning import plan_shards
from prp_core.data.shards.source import ShardSource
from prp_core.errors import BrokenVideo, ObjectMissing, UserError
from prp_core.world import World
from tests.fixtures_s3 import S3Server
from tests.tools.fault_proxy import FaultProxy
from tests.video_factory import cut_short, make_video, shown_numbers, with_index_first

REPOSITORY = Path(__file__).resolve().parents[2]
NUM_VIDEOS, NUM_FRAMES = 9, 40
SIZES = ["--height", "64", "--width", "96", "--shard-bytes", "300000"]
SETTINGS = ShardSettings(height=64, width=96, shard_bytes=300_000)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two class folders of videos whose frames show their numbers; one of them broken."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(NUM_VIDEOS):
        make_video(folder / f"class-{number % 2}" / f"video-{number}.mp4", NUM_FRAMES, seed=number)
    cut_short(with_index_first(make_video(folder / "class-0" / "torn.mp4", NUM_FRAMES)), 0.5)
    return folder


@pytest.fixture(scope="module")
def prepared(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that came of the folder of videos, undisturbed."""
    home = tmp_path_factory.mktemp("home")
    seen: list[PrepareProgress] = []
    job = job_for(videos, home / "prepared", home)
    prepare(
        indexed(videos, home),
        job,
        in_this_process,
        prices=Prices(cpu_hour=0.1),
        on_progress=seen.append,
    )
    assert [progress.num_done for progress in seen] == list(
        range(seen[-1].num_shards + 1)
    ) and seen[-1].num_videos == NUM_VIDEOS
    return home / "prepared"


def job_for(videos: Path, place: Path, home: Path) -> PrepareJob:
    return PrepareJob(
        source_uri=videos.as_uri(),
        uri=place.as_uri(),
        settings=SETTINGS,
        loader=LoaderConfig(num_decoders=1),
        store=StoreConfig(),
        cache=CacheConfig(dir=str(home / "cache"), capacity_bytes=1 << 30),
    )


def contents(store: ObjectStore, folder: str = "shards/") -> dict[str, bytes]:
    return {info.key: b"".join(store.read(info.key)) for info in store.list(folder)}


def marker_of(place: ObjectStore) -> Marker:
    marker = read_marker(place)
    assert marker is not None
    return marker


def config_with(**tables: object) -> RunConfig:
    return parse_config(
        {
            "clip": {"length": 8, "resize_height": 64, "resize_width": 96, "crop": 48},
            "loader": {"num_decoders": 1},
            **tables,
        }
    )


def indexed(
    place: str | Path, folder: Path, *, store: StoreConfig | None = None, **labels: object
) -> Manifest:
    job = IndexJob(
        uri=place,
        out_uri=folder / "manifests",
        labels=LabelSource(**labels),
        store=store or StoreConfig(),
        state_dir=folder / "state",
        cache=CacheConfig(dir=str(folder / "cache")),
        num_workers=1,
    )
    return index(job)[0]


def test_a_prepared_folder_says_what_it_is_and_where_it_comes_from(
    prepared: Path, videos: Path, tmp_path: Path
) -> None:
    place = LocalStore(prepared)
    looked_at = videos_finding(load_config("demo"), SourceConfig(uri=prepared.as_uri()))
    assert looked_at.level != Level.FAILURE and "of 3 sample videos decode" in looked_at.text
    marker, report = marker_of(place), json.loads((prepared / "report.json").read_text())
    assert marker.source_uri == videos.as_uri() and (marker.num_videos, marker.num_frames) == (
        NUM_VIDEOS,
        NUM_VIDEOS * NUM_FRAMES,
    )
    originals, manifest = indexed(videos, tmp_path), indexed(prepared, tmp_path)
    assert marker.source_manifest_hash == originals.content_hash
    shards = read_index(place, marker)
    assert len(shards.files) == marker.num_shards >= 3
    for record, original in zip(manifest.records, originals.records, strict=True):
        for name in ("key", "label", "group", "split", "num_frames", "fps", "reason"):
            assert getattr(record, name) == getattr(original, name)
        if not record.reason:
            video = shards.videos[record.key]
            assert (video.source_etag, video.source_sha256, video.source_num_bytes) == (
                original.etag,
                original.sha256,
                original.num_bytes,
            )
            assert (record.codec, record.height, record.width, record.sha256) == (
                "jpeg-q90",
                64,
                96,
                video.sha256,
            )
    assert [record.key for record in manifest.quarantined()] == ["class-0/torn.mp4"]
    assert manifest.videos_hash != originals.videos_hash, "other pixels, other data"
    assert (
        report["quarantined"][0]["reason"] == "truncated"
        and report["again"]["bytes_written"] == marker.num_bytes
    )
    assert (
        prepare(originals, job_for(videos, prepared, tmp_path), in_this_process)[1].marker == marker
    ), "nothing is made twice"
    assert report["cpu_seconds"] > 0 and report["again"]["dollars"] == pytest.approx(
        0.1 * report["again"]["cpu_hours"]
    )


def test_videos_that_need_it_are_prepared_and_no_others_are_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_video(tmp_path / "videos" / "run" / "long.mp4", NUM_FRAMES)
    (tmp_path / "videos" / "run" / "empty.mp4").touch()
    loader = LoaderConfig(num_decoders=1, max_pixels_decoded=64 * 96 * 8)
    manifest, uri = index(
        IndexJob(uri=tmp_path / "videos", state_dir=tmp_path / "state", loader=loader)
    )
    assert [record.reason for record in manifest.records] == ["empty", "needs-prepare"]
    with pytest.raises(UserError, match="2 quarantined, 1 of them only need 'prp data prepare'"):
        parts(manifest, val_fraction=0.5, seed=0)
    print_summary(manifest, uri)
    place = tmp_path / "prepared"
    assert capsys.readouterr().err.splitlines()[-1] == (
        "1 video needs preparing before training can use it: "
        + prp(f"data prepare {manifest.uri} DST")
    )
    prepared, _ = prepare(manifest, job_for(tmp_path / "videos", place, tmp_path), in_this_process)
    assert [one.reason + one.detail for one in prepared.records] == ["empty0 bytes", ""]
    assert prepared.usable() == indexed(place, tmp_path).usable()


def test_frames_come_from_the_shards(prepared: Path, tmp_path: Path) -> None:
    place, manifest = LocalStore(prepared), indexed(prepared, tmp_path)
    with open_source(
        place,
        manifest,
        config_with(cache={"dir": str(tmp_path / "cache"), "frames_capacity_bytes": 0}),
        World.alone(),
    ) as source:
        assert isinstance(source, ShardSource)
        for record in manifest.usable():
            assert shown_numbers(source.frames(record, (39, 0, 7)).numpy()) == [39, 0, 7]


def test_a_prepared_place_takes_new_labels_and_refuses_what_does_not_fit(
    prepared: Path, videos: Path, tmp_path: Path
) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("key,label,split\nclass-1/video-1.mp4,other,test\n")
    manifest = indexed(prepared, tmp_path, labels_csv=labels)
    relabelled = next(record for record in manifest.records if record.key == "class-1/video-1.mp4")
    assert (relabelled.label, relabelled.split) == ("other", "test")
    check_prepared(str(prepared), manifest, config_with())
    with pytest.raises(UserError, match="holds frames of 64 x 96; .* --height 72 --width 96"):
        check_prepared(
            str(prepared),
            manifest,
            config_with(clip={"length": 8, "resize_height": 72, "resize_width": 96, "crop": 48}),
        )
    with pytest.raises(
        UserError,
        match="the shards hold other bytes of 'class-0/video-0.mp4' than the manifest names",
    ):
        check_prepared(str(prepared), indexed(videos, tmp_path), config_with())


def complaint(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["data", "prepare", *words]) == 2
    error = capsys.readouterr().err.splitlines()
    return error[-1]


def test_mistakes_are_one_line(
    prepared: Path,
    videos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PRP_HOME", str(tmp_path / "state"))
    before = contents(LocalStore(prepared), "")
    assert "holds shards of other videos or settings" in complaint(
        capsys, str(videos), str(prepared), *SIZES, "--quality", "80"
    )
    assert "choose a place outside" in complaint(capsys, str(videos), str(videos / "shards"))
    assert "would lose more quality; prepare from the original videos" in complaint(
        capsys, str(prepared), str(tmp_path / "again")
    )
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    assert "holds other objects, 'letter.txt' among them; prepare into an empty place" in complaint(
        capsys, str(videos), str(tmp_path / "full")
    )
    assert "kind of shard" in complaint(capsys, str(videos), str(tmp_path / "new"), "--kind", "png")
    assert contents(LocalStore(prepared), "") == before


def prepare_here(source_uri: str, uri: str, home: str, endpoint_url: str = "") -> None:
    """Index and prepare in this process: what a test kills, or lets end."""
    folder, store = Path(home), StoreConfig(endpoint_url=endpoint_url or None)
    job = dataclasses.replace(
        job_for(folder, folder, folder), source_uri=source_uri, uri=uri, store=store
    )
    prepare(indexed(source_uri, folder, store=store), job, in_this_process)


def test_a_killed_run_goes_on_and_makes_the_same_shards(
    prepared: Path, videos: Path, s3_environment: S3Server, s3_bucket: str, tmp_path: Path
) -> None:
    """From a bucket into a bucket, killed amid the shards; what must come out is what came of a
    folder, undisturbed.
    """
    s3_environment.upload_folder(videos, s3_bucket, "videos/")
    source, uri = f"s3://{s3_bucket}/videos", f"s3://{s3_bucket}/prepared"
    place = open_store(uri)
    code = (
        "import sys; from tests.integration.test_prepare import prepare_here; "
        "prepare_here(*sys.argv[1:])"
    )
    with FaultProxy(s3_environment.endpoint_url) as proxy:
        proxy.add("latency", method="PUT", path="/prepared/shards/", seconds=2.0)
        process = subprocess.Popen(
            [sys.executable, "-c", code, source, uri, str(tmp_path), proxy.url], cwd=REPOSITORY
        )
        deadline = time.monotonic() + 400
        while (
            len(list(place.list("records/"))) < 1
            and process.poll() is None
            and time.monotonic() < deadline
        ):
            time.sleep(0.1)
        process.kill()
        process.wait()
    finished = {info.key: info.etag for info in place.list("records/")}
    assert finished and read_marker(place) is None, "killed in the middle"
    with pytest.raises(
        UserError, match="whose shards are not finished; run the same 'prp data prepare' again"
    ):
        indexed(uri, tmp_path)

    prepare_here(source, uri, str(tmp_path))
    now = {info.key: info.etag for info in place.list("records/")}
    assert {key: now[key] for key in finished} == finished, "not made again"
    assert len(now) > len(finished)
    assert contents(place) == contents(LocalStore(prepared)), "byte for byte the same shards"
    assert json.loads(contents(place, "report.json")["report.json"])["num_reused_shards"] == len(
        finished
    )
    here, there = marker_of(place), marker_of(LocalStore(prepared))
    assert [file.sha256 for file in read_index(place, here).files] == [
        file.sha256 for file in read_index(LocalStore(prepared), there).files
    ]
    assert indexed(uri, tmp_path).videos_hash == indexed(prepared, tmp_path).videos_hash


def test_the_command_makes_the_same_shards_as_tasks_of_a_cluster(
    prepared: Path, videos: Path, tmp_path: Path
) -> None:
    code = "import sys; from orchestrator.commands.prp import main; sys.exit(main())"
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            code,
            "data",
            "prepare",
            str(videos),
            "place",
            *SIZES,
            "--workers",
            "1",
            "--cpu-hour-price",
            "0.1",
        ],
        cwd=tmp_path,
        env={
            **os.environ,
            "HOME": str(tmp_path),
            "PRP_HOME": str(tmp_path / "state"),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(REPOSITORY),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    out, error = process.communicate(timeout=600)
    assert (process.returncode, out.strip()) == (0, (tmp_path / "place").as_uri()), error
    assert "10 of 10 videos, 0 known before, 1 quarantined" in error
    assert (
        "9 videos, 360 frames in" in error
        and f"1 quarantined: 1 truncated; see them with: {prp('data show file://')}" in error
    )
    assert contents(LocalStore(tmp_path / "place")) == contents(LocalStore(prepared))


@pytest.fixture
def bucket_of_shards(prepared: Path, s3_environment: S3Server, s3_bucket: str) -> str:
    """The prepared folder, copied into a bucket by another tool: its etags are others there."""
    s3_environment.upload_folder(prepared, s3_bucket, "copy/")
    return s3_bucket


def opened(
    bucket: str, proxy: FaultProxy, folder: Path, capacity_bytes: int
) -> tuple[ShardSource, Manifest]:
    config = config_with(
        cache={
            "dir": str(folder / "cache"),
            "capacity_bytes": capacity_bytes,
            "frames_capacity_bytes": 0,
        },
        store={"endpoint_url": proxy.url},
    )
    place = open_store(f"s3://{bucket}/copy", config.store)
    manifest = indexed(f"s3://{bucket}/copy", folder)
    source = open_source(place, manifest, config, World.alone())
    assert isinstance(source, ShardSource)
    proxy.clear()
    return source, manifest


def test_a_node_fetches_each_shard_once(
    bucket_of_shards: str, proxy: FaultProxy, tmp_path: Path
) -> None:
    source, manifest = opened(bucket_of_shards, proxy, tmp_path, 1 << 30)
    proxy.add("cut", at=100_000, times=1)
    for _ in range(2):
        for record in manifest.usable():
            assert shown_numbers(source.frames(record, (1, 38)).numpy()) == [1, 38]
    gets = list(proxy.gets("/copy/shards/"))
    assert len({entry.path for entry in gets}) == len(source.index.files)
    assert len(gets) == len(source.index.files) + 1, "one broke and was resumed where it broke"
    assert source.counters["data/cache_downloads"] == len(source.index.files)
    # A bit that flips on the node's disk after the shard was verified: found, fetched again,
    # counted.
    cached = max((tmp_path / "cache" / "objects").glob("*/*"), key=lambda path: path.stat().st_size)
    data = bytearray(cached.read_bytes())
    for position in range(0, len(data), 700):
        data[position] ^= 0xFF
    cached.write_bytes(data)
    for record in manifest.usable():
        assert shown_numbers(source.frames(record, (1, 38)).numpy()) == [1, 38]
    assert source.counters["data/shard_corrupt"] >= 1 and source.counters["data/cache_corrupt"] == 1
    assert source.counters["data/cache_downloads"] == len(source.index.files) + 1


def test_a_cache_that_is_too_small_reads_by_range(
    bucket_of_shards: str, proxy: FaultProxy, tmp_path: Path
) -> None:
    source, manifest = opened(bucket_of_shards, proxy, tmp_path, 100_000)
    proxy.add("flip", path="/copy/shards/", at=300, times=1)
    proxy.add("cut", path="/copy/shards/", at=1_000, times=1)
    for record in manifest.usable():
        assert shown_numbers(source.frames(record, (3, 5, 9)).numpy()) == [3, 5, 9]
    counters, largest = source.counters, max(file.num_bytes for file in source.index.files)
    assert (
        counters["data/cache_downloads"] == counters["data/cache_bypassed"] == 0
        and counters["data/shard_ranges"] >= NUM_VIDEOS
    )
    assert counters["data/shard_corrupt"] >= 1, "the flipped byte"
    for entry in proxy.gets("/copy/shards/"):
        first, last = (int(text) for text in (entry.range or "").removeprefix("bytes=").split("-"))
        assert last - first < largest / 4, "a few frames, not a shard"
    proxy.add("flip", path="/copy/shards/", at=300)
    with pytest.raises(BrokenVideo, match="corrupt"):
        source.frames(manifest.usable()[0], (3, 5, 9))


def test_a_task_that_died_before_its_record_is_repeated_without_harm(
    videos: Path, tmp_path: Path
) -> None:
    job = job_for(videos, tmp_path / "place", tmp_path)
    planned = plan_shards(indexed(videos, tmp_path), SETTINGS)[0]
    place = LocalStore(tmp_path / "place")
    with pytest.raises(ObjectMissing):
        read_record(place, planned)
    first = make_shard(job, planned)
    shards = contents(place)
    assert len(shards) == 1 and first.num_videos == len(planned.records) and first.cpu_seconds > 0
    place.delete(record_name(planned))
    assert make_shard(job, planned).num_frames == first.num_frames and contents(place) == shards
    place.delete(record_name(planned))
    place.write(next(iter(shards)), b"another library's bytes")
    make_shard(job, planned)
    assert contents(place) == shards, "bytes without a record are nobody's"
    assert read_marker(place) is None and MARKER not in contents(place, "")
    index_of_shard, _ = read_record(place, planned)
    assert sorted(index_of_shard.videos) == [record.key for record in planned.records]


def test_a_video_that_changed_since_it_was_indexed_is_quarantined(
    videos: Path, tmp_path: Path
) -> None:
    manifest = indexed(videos, tmp_path)
    job = job_for(videos, tmp_path / "place", tmp_path)
    planned = plan_shards(manifest, SETTINGS)[0]
    other = Manifest(
        manifest.uri,
        tuple(
            r if r.key != planned.records[0].key else type(r)(**{**vars(r), "etag": "old"})
            for r in planned.records
        ),
    )
    record = make_shard(job, type(planned)(planned.number, other.records, planned.plan_hash))
    assert [entry[:2] for entry in record.broken] == [(planned.records[0].key, "changed")]
    assert record.num_videos == len(planned.records) - 1
