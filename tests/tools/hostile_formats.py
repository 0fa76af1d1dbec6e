"""Every file format that the system reads: a valid sample of each, and the function that reads it.

A function that reads returns what the system would go on with, or raises an error of ours.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cluster.capacity import _parse_config, _parse_nodes
from cluster.prices import TABLE, machines_of_config, read_table
from orchestrator.config.run_config import load_config
from orchestrator.config.sweep_spec import SweepSpec, spec_of_values
from orchestrator.data.index_journal import IndexJournal
from orchestrator.data.label_source import read_label_table
from orchestrator.data.prepare_report import PrepareReport, RerunCost, read_report
from orchestrator.data.prepare_task import ShardRecord, read_record, record_name
from orchestrator.journal.entry import Entry, parse_entries, parse_record, record_line
from orchestrator.journal.lease_record import LeaseRecord, read_lease
from orchestrator.journal.process_identity import ProcessIdentity
from orchestrator.journal.requests import Action, Request, parse_request
from orchestrator.journal.sweep_folder import SPEC, SweepFolder
from orchestrator.storage.manifest_file import read_manifest, write_manifest
from orchestrator.storage.prepared_place import (
    BEGUN,
    MARKER,
    Marker,
    check_free,
    read_marker,
    write_marker,
)
from orchestrator.storage.shard_index_file import (
    index_to_parquet,
    read_shard_index,
    write_shard_index,
)
from orchestrator.storage.store_profiles import FILE_NAME, read_store_profile
from orchestrator.tracking.encoder_file import CARD_NAME, WEIGHTS_NAME, EncoderCard, pack, unpack
from prp_core.data.cache.counters import node_counters
from prp_core.data.cache.frames_file import PAGE, FramesKey, key_of_file
from prp_core.data.loader_config import LoaderConfig
from prp_core.data.manifest import Manifest, VideoRecord
from prp_core.data.object_store import LocalStore
from prp_core.data.shards.index import ShardFile, ShardIndex, ShardSettings, ShardVideo
from prp_core.data.shards.planning import PlannedShard
from prp_core.data.shards.source import ShardSource
from prp_core.data.shards.writing import write_shard
from prp_core.data.splits import read_split_files
from prp_core.encoders.c3d import c3d_small
from prp_core.pretext.official_checkpoint import load_official_checkpoint
from prp_core.training.checkpoint import CheckpointFolder, from_bytes, to_bytes
from prp_core.training.checkpoint_record import newest_step, trained_epochs
from prp_core.world import World

ALONE = World.alone()
RECORDS = tuple(
    VideoRecord(
        key=f"run/{name}.mp4",
        num_bytes=4000 + number,
        etag=f"e{number}",
        sha256="ab" * 32,
        num_frames=30 + number,
        fps=29.97,
        width=64,
        height=48,
        codec="h264",
        label="run",
        group=f"g{number}",
        split="train",
    )
    for number, name in enumerate(("a", "Bäder", "c"))
)
SETTINGS = ShardSettings(height=16, width=16)
PLANNED = PlannedShard(0, RECORDS, "0123456789abcdef")
VIDEO_INDEX = ShardVideo(
    key="a",
    shard=0,
    offset=512,
    header_bytes=512,
    num_frames=3,
    sizes=np.array([700, 800, 900], dtype=np.uint32),
    crc32s=np.array([1, 2, 3], dtype=np.uint32),
    sha256="cd" * 32,
    source_num_bytes=99,
    source_etag="etag",
    source_sha256="ef" * 32,
)
INDEX = ShardIndex(SETTINGS, (ShardFile("shards/a.tar", 10_000, "sha"),), {"a": VIDEO_INDEX})
MARKER_VALUE = Marker(
    settings=SETTINGS,
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
SPEC_VALUE = SweepSpec(
    sweep_id="rates-1",
    config={"seed": 1, "clip": {"length": 16}},
    storage_uri="file:///s",
    tracking_uri="sqlite:///x",
    data_uri="file:///v",
    manifest_uri="file:///m",
    tags={"a": "b"},
)
REQUEST_ID = "00000000000000000001-0123456789abcdef"


@dataclass(frozen=True)
class Format:
    """`make` writes a valid file below a folder and returns its path; `read` reads it there.

    Where `is_sealed`, a digest covers all that counts: what is accepted is what was written.
    """

    make: Callable[[Path], Path]
    read: Callable[[Path], Any]
    is_sealed: bool = False


def _written(name: str, data: bytes | str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    return make


def _only(folder: Path, pattern: str) -> Path:
    (path,) = folder.glob(pattern)
    return path


def _make_manifest(folder: Path) -> Path:
    write_manifest(Manifest("file:///videos", RECORDS), LocalStore(folder))
    return _only(folder, "*.parquet")


def _make_renamed_manifest(folder: Path) -> Path:
    return _make_manifest(folder).rename(folder / "mine.parquet")


def _make_index(folder: Path) -> Path:
    return folder / write_shard_index(INDEX, LocalStore(folder))


def _read_index(folder: Path) -> Any:
    index = read_shard_index(LocalStore(folder), _only(folder, "*.parquet").name)
    return index.settings, index.files, index.content_hash


def _make_shard_record(folder: Path) -> Path:
    record = ShardRecord(
        number=0,
        num_videos=1,
        num_frames=3,
        bytes_in=99,
        num_gets=1,
        wall_seconds=1.5,
        cpu_seconds=2.5,
        broken=(("b", "truncated", "half of it"),),
    )
    return _written(record_name(PLANNED), index_to_parquet(INDEX, asdict(record)))(folder)


def _read_shard_record(folder: Path) -> Any:
    index, record = read_record(LocalStore(folder), PLANNED)
    return index.content_hash, record


class _Noise:
    """A source of random frames."""

    loader = LoaderConfig()

    @property
    def counters(self) -> dict[str, float]:
        return {}

    def frames(self, record: VideoRecord, positions: Any) -> torch.Tensor:
        generator = torch.Generator().manual_seed(record.num_bytes)
        shape = (record.num_frames, record.height, record.width, 3)
        frames = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        return frames[list(positions)]

    def close(self) -> None:
        pass


def _make_shard(folder: Path) -> Path:
    path = _written("shards/one.tar", b"")(folder)
    with path.open("w+b") as file:
        written = write_shard(_Noise(), RECORDS[:1], SETTINGS, file, number=0)
    files = (ShardFile("shards/one.tar", written.num_bytes, written.sha256),)
    index = ShardIndex(SETTINGS, files, {video.key: video for video in written.videos})
    write_shard_index(index, LocalStore(folder))
    return path


def _read_shard(folder: Path) -> Any:
    store = LocalStore(folder)
    index = read_shard_index(store, _only(folder, "*.parquet").name)
    (video,) = index.videos.values()
    record = VideoRecord(
        key=video.key, num_bytes=1, etag="", num_frames=video.num_frames, sha256=video.sha256
    )
    with ShardSource(index, store, None, _Noise.loader) as source:
        return source.frames(record, range(video.num_frames)).sum(dtype=torch.int64)


def _make_entry(folder: Path) -> Path:
    kinds, lines = zip(
        *(record_line({"kind": "study", "value": number}) for number in range(3)), strict=True
    )
    return _written("entry", Entry(7, 2, "5f0c", kinds, lines).to_bytes())(folder)


def _read_entry(folder: Path) -> Any:
    (entry,) = parse_entries((folder / "entry").read_bytes(), 7, 7)
    return entry, [parse_record(line) for line in entry.lines]


def _make_lease(folder: Path) -> Path:
    process = ProcessIdentity("user", "host", 12, "machine", "99")
    return _written("lease.json", LeaseRecord(process, 3, "token", 1.8e9).to_bytes())(folder)


def _read_lease(folder: Path) -> Any:
    seen = read_lease(LocalStore(folder), "lease.json")
    assert seen is not None
    return seen.record, seen.record.since_utc


def _read_spec(folder: Path) -> Any:
    stored = SweepFolder(LocalStore(folder), "rates-1").read_spec()
    assert stored is not None
    return spec_of_values(stored.values, "file:///s")


def _commits(folder: Path) -> CheckpointFolder:
    return CheckpointFolder(LocalStore(folder))


def _make_checkpoint(pattern: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        state = to_bytes({"weights": torch.arange(40.0), "step": 3})
        _commits(folder).save(3, {"common.pt": state}, facts={"num_epochs": 2}, world=ALONE)
        return _only(folder, pattern)

    return make


def _read_checkpoint(folder: Path) -> Any:
    store = LocalStore(folder)
    numbers = newest_step(store, "checkpoints"), trained_epochs(store, "checkpoints")
    checkpoint = _commits(folder).latest_committed(ALONE)
    assert checkpoint is not None
    state = from_bytes(_commits(folder).read(checkpoint, "common.pt"))
    return numbers, checkpoint.step, checkpoint.facts, state["weights"].tolist()


def _read_tensors(folder: Path) -> Any:
    return {
        name: tuple(value.shape) if isinstance(value, torch.Tensor) else value
        for name, value in from_bytes((folder / "state.pt").read_bytes()).items()
    }


def _official_weights() -> bytes:
    """The weights of a small encoder under the names that VCOP's files have."""
    named = {}
    for name, tensor in c3d_small().state_dict().items():
        convolution, part, entry = name.rsplit(".", 2)
        number, _, half = convolution.removeprefix("conv").partition("_")
        letter = {"": "", "1": "a", "2": "b"}[half]
        kind = "conv" if part == "0" else "bn"
        named[f"module.{kind}{number}{letter}.{entry}"] = tensor
    return to_bytes(named)


def _read_official(folder: Path) -> Any:
    return load_official_checkpoint(c3d_small(), folder / "official.pth")


def _make_encoder(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        card = EncoderCard(encoder="c3d", config={"a": 1}, metrics={"m": 0.5})
        for file, data in pack({"w": torch.arange(20.0)}, card).items():
            (folder / file).write_bytes(data)
        return folder / name

    return make


def _read_encoder(folder: Path) -> Any:
    files = {name: (folder / name).read_bytes() for name in (CARD_NAME, WEIGHTS_NAME)}
    card, weights = unpack(files)
    return card, {name: value.tolist() for name, value in weights.items()}


def _make_journal_of_index(folder: Path) -> Path:
    with IndexJournal(folder, "file:///v", LoaderConfig()) as journal:
        for record in RECORDS:
            journal.add(record)
    return journal.path


def _read_journal_of_index(folder: Path) -> Any:
    with IndexJournal(folder, "file:///v", LoaderConfig()) as journal:
        return journal.known


def _make_marker(folder: Path) -> Path:
    write_marker(MARKER_VALUE, LocalStore(folder))
    return folder / MARKER


def _read_begun(folder: Path) -> Any:
    check_free(LocalStore(folder), "12345678")


def _report() -> bytes:
    again = RerunCost(cpu_hours=1.0, gets=2, puts=3, bytes_read=4, bytes_written=5, dollars=None)
    report = PrepareReport(
        uri="file:///p",
        marker=MARKER_VALUE,
        num_reused_shards=0,
        bytes_in=1,
        bytes_out=2,
        wall_seconds=1.0,
        cpu_seconds=2.0,
        frames_per_cpu_second=3.0,
        again=again,
        quarantined=({"key": "a", "reason": "empty", "detail": ""},),
    )
    return json.dumps(asdict(report)).encode()


UCF101 = "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\nArchery/v_Archery_g09_c02.avi 2\n"
NODES = '[{"name": "big", "cpus": 8, "gpus": 1, "max_count": 4}]'
CLUSTER = """
max_workers: 4
head_node_type: head
available_node_types:
  head: {resources: {CPU: 2}, node_config: {InstanceType: m5.large}}
  gpu: {resources: {CPU: 8, GPU: 1}, max_workers: 4, node_config: {InstanceType: g5.xlarge}}
"""
STORES = '[ceph]\nendpoint_url = "https://s3.example.org"\naddressing = "path"\n'
PRESET = """seed = 3
[clip]
length = 16
[training]
learning_rate = 0.01
batch_size = 8
[pretext.playback_rate]
rates = "1-2-4-8"
"""
LABELS = "key,label,group,split\nrun/a.mp4,run,g1,train\nrun/b.mp4,run,g2,val\n"


def _make_ucf101(folder: Path) -> Path:
    _written("testlist01.txt", "Archery/v_Archery_g01_c02.avi\n")(folder)
    return _written("trainlist01.txt", UCF101)(folder)


FORMATS: dict[str, Format] = {
    "manifest": Format(_make_manifest, lambda f: read_manifest(_only(f, "*.parquet")), True),
    "renamed manifest": Format(_make_renamed_manifest, lambda f: read_manifest(f / "mine.parquet")),
    "index of shards": Format(_make_index, _read_index, True),
    "record of a shard": Format(_make_shard_record, _read_shard_record),
    "shard": Format(_make_shard, _read_shard, True),
    "marker of a prepared place": Format(_make_marker, lambda f: read_marker(LocalStore(f))),
    "beginning of a prepared place": Format(
        _written(BEGUN, '{"plan_hash": "12345678", "source_uri": "s3://b"}'), _read_begun
    ),
    "report of a prepared place": Format(
        _written("report.json", _report()),
        lambda f: read_report(LocalStore(f)),
    ),
    "journal": Format(_make_entry, _read_entry, True),
    "lease": Format(_make_lease, _read_lease),
    "spec": Format(_written(SPEC, json.dumps(SPEC_VALUE.to_values(), indent=1)), _read_spec),
    "request": Format(
        _written("r", json.dumps(asdict(Request(Action.STOP, 3, by="me", at=1.0)))),
        lambda f: parse_request((f / "r").read_bytes(), REQUEST_ID),
    ),
    "index journal": Format(_make_journal_of_index, _read_journal_of_index),
    "commit": Format(_make_checkpoint("checkpoints/step-*/*commit.json"), _read_checkpoint, True),
    "record of commits": Format(
        _make_checkpoint("checkpoints/committed.json"), _read_checkpoint, True
    ),
    "checkpoint": Format(_make_checkpoint("checkpoints/step-*/*.pt"), _read_checkpoint, True),
    "tensors": Format(
        _written("state.pt", to_bytes({"w": torch.arange(40.0), "step": 3})), _read_tensors
    ),
    "official weights": Format(_written("official.pth", _official_weights()), _read_official),
    "encoder's card": Format(_make_encoder(CARD_NAME), _read_encoder),
    "encoder's weights": Format(_make_encoder(WEIGHTS_NAME), _read_encoder, True),
    "labels": Format(_written("l.csv", LABELS), lambda f: read_label_table(f / "l.csv")),
    "splits of UCF101": Format(_make_ucf101, lambda f: read_split_files(f, 1)),
    "splits of HMDB51": Format(
        _written("run_test_split1.txt", "a_run_f_cm_np1_ba_med_3.avi 1\nb.avi 2\n"),
        lambda f: read_split_files(f, 1),
    ),
    "lists of splits": Format(
        _written("train.csv", "run/a.mp4 0\nwalk/b.mp4 1\n"), lambda f: read_split_files(f, 1)
    ),
    "Kinetics' table": Format(
        _written("val.csv", "label,youtube_id,time_start,time_end,split\nrun,abc,1,11,val\n"),
        lambda f: read_split_files(f, 1),
    ),
    "annotations": Format(
        _written("train.json", '{"ab": {"annotations": {"label": "x", "segment": [1, 2]}}}'),
        lambda f: read_split_files(f, 1),
    ),
    "preset": Format(_written("p.toml", PRESET), lambda f: load_config(str(f / "p.toml"))),
    "stores": Format(_written(FILE_NAME, STORES), lambda f: read_store_profile("ceph", [f])),
    "prices": Format(_written("p.toml", TABLE.read_bytes()), lambda f: read_table(f / "p.toml")),
    "nodes": Format(
        _written("n", NODES), lambda f: _parse_nodes((f / "n").read_text(errors="replace"))
    ),
    "cluster": Format(_written("c.yaml", CLUSTER), lambda f: _parse_config(f / "c.yaml")),
    "cluster's machines": Format(
        _written("c.yaml", CLUSTER), lambda f: machines_of_config(f / "c.yaml")
    ),
    "counters": Format(
        _written("counters.json", '{"hits": 3.0, "misses": 4.0}'), lambda f: node_counters(f)
    ),
    "frames' header": Format(
        _written("frames", FramesKey("ab" * 20, 5, 8, 8).header.ljust(PAGE * 2)),
        lambda f: key_of_file(f / "frames"),
    ),
}
