"""Preparing of shards: planned here, made by tasks on the cluster, resumed after a kill.

A shard is finished when its record exists; the place is prepared when its marker exists, which is
written last.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import ray

from orchestrator.data.prepare_report import PrepareReport, Prices, make_report, read_report
from orchestrator.data.prepare_task import (
    RECORDS,
    PrepareJob,
    ShardRecord,
    make_shard,
    read_record,
    record_name,
)
from orchestrator.ray_cluster.connect import ray_cluster
from orchestrator.ray_cluster.task_pool import TASK_OPTIONS, results_of_tasks
from orchestrator.storage.manifest_file import write_manifest
from orchestrator.storage.open_store import open_store
from orchestrator.storage.prepared_place import (
    BEGUN,
    REPORT,
    Marker,
    check_free,
    check_places,
    read_marker,
    read_prepared_manifest,
    write_marker,
)
from orchestrator.storage.shard_index_file import write_shard_index
from prp_core.data.manifest import Manifest, VideoRecord
from prp_core.data.object_store import ObjectStore
from prp_core.data.shards.index import ShardFile, ShardIndex, ShardSettings, ShardVideo
from prp_core.data.shards.planning import PlannedShard, plan_shards
from prp_core.errors import NEEDS_PREPARE, ObjectExists, UserError

NUM_READERS = 16


@dataclass(frozen=True)
class PrepareProgress:
    """The progress of a prepare run; `num_reused` shards were finished by an earlier one."""

    num_done: int
    num_shards: int
    num_reused: int
    num_videos: int
    num_quarantined: int


OnShard = Callable[[PlannedShard, ShardRecord], None]
MakeShards = Callable[[PrepareJob, Sequence[PlannedShard], OnShard], None]
"""Makes every one of the shards, and reports each."""


def prepare(
    manifest: Manifest,
    job: PrepareJob,
    make_shards: MakeShards,
    *,
    prices: Prices | None = None,
    on_progress: Callable[[PrepareProgress], None] | None = None,
) -> tuple[Manifest, PrepareReport]:
    """The prepared manifest and the report of `manifest`'s videos, prepared as `job` says.

    `make_shards` (`on_cluster`, `in_this_process`) is called with those that are not finished, and
    not at all where none is left. Raises `UserError` when `job.uri` holds anything else, `PrpError`
    when a task fails permanently.
    """
    started = time.monotonic()
    place = open_store(job.uri, job.store)
    plan = plan_shards(manifest, job.settings)
    if not plan:
        raise UserError(
            f"{manifest.uri} has no usable video to prepare ({manifest.quarantined_in_words})"
        )
    check_places(manifest.uri, place.uri)
    finished = begin(place, plan, manifest)
    pending = [planned for planned in plan if record_name(planned) not in finished]
    report_progress = _Progress(
        plan, len(plan) - len(pending), on_progress or (lambda progress: None)
    )
    if pending:
        make_shards(job, pending, report_progress.add)
    marker = read_marker(place)
    if marker is not None:
        report = read_report(place)
        return read_prepared_manifest(place, marker, job.store), report
    return _finish(
        manifest,
        job,
        place,
        plan,
        num_reused=len(plan) - len(pending),
        started=started,
        prices=prices or Prices(),
    )


def begin(place: ObjectStore, plan: Sequence[PlannedShard], manifest: Manifest) -> set[str]:
    """Mark the place as being prepared; returns the keys of the records that exist.

    Raises `UserError` when it holds anything else.
    """
    words = {"plan_hash": plan[0].plan_hash, "source_uri": manifest.uri}
    check_free(place, plan[0].plan_hash)
    try:
        place.write(BEGUN, json.dumps(words).encode(), if_absent=True)
    except ObjectExists:
        check_free(place, plan[0].plan_hash)
    return {info.key for info in place.list(f"{RECORDS}/")}


def in_this_process(job: PrepareJob, pending: Sequence[PlannedShard], on_shard: OnShard) -> None:
    """Make one shard after the other, without a cluster."""
    for planned in pending:
        on_shard(planned, make_shard(job, planned))


def on_cluster(
    address: str = "", *, num_workers: int | None = None, verbose: bool = False
) -> MakeShards:
    """Make shards as tasks of the Ray cluster at `address`, or of a local one.

    A local one has `num_workers` CPUs.
    """

    def make_shards(job: PrepareJob, pending: Sequence[PlannedShard], on_shard: OnShard) -> None:
        with ray_cluster(address, num_cpus=num_workers, use_torch=False, verbose=verbose):
            run_tasks(job, pending, on_shard)

    return make_shards


def run_tasks(job: PrepareJob, pending: Sequence[PlannedShard], on_shard: OnShard) -> None:
    """Make every shard of `pending` on the connected Ray cluster; `on_shard` is called for each.

    Raises the first permanent error.
    """
    task = ray.remote(make_shard).options(num_cpus=1, **TASK_OPTIONS)
    for planned, record in results_of_tasks(task, job, pending, _failed):
        on_shard(planned, record)


def _failed(planned: PlannedShard) -> str:
    keys = f"{planned.records[0].key} to {planned.records[-1].key}"
    return f"{planned.stem} ({keys}) could not be made"


class _Progress:
    """Counts what is finished and reports it."""

    def __init__(
        self,
        plan: Sequence[PlannedShard],
        num_reused: int,
        on_progress: Callable[[PrepareProgress], None],
    ) -> None:
        self._plan = plan
        self._num_reused = num_reused
        self._on_progress = on_progress
        self._num_done = num_reused
        self._num_videos = 0
        self._num_quarantined = 0
        on_progress(self._now())

    def add(self, planned: PlannedShard, record: ShardRecord) -> None:
        self._num_done += 1
        self._num_videos += record.num_videos
        self._num_quarantined += len(record.broken)
        self._on_progress(self._now())

    def _now(self) -> PrepareProgress:
        return PrepareProgress(
            self._num_done,
            len(self._plan),
            self._num_reused,
            self._num_videos,
            self._num_quarantined,
        )


def _finish(
    manifest: Manifest,
    job: PrepareJob,
    place: ObjectStore,
    plan: Sequence[PlannedShard],
    *,
    num_reused: int,
    started: float,
    prices: Prices,
) -> tuple[Manifest, PrepareReport]:
    """Join the records into the index and the manifest; report and marker come last."""
    with ThreadPoolExecutor(NUM_READERS) as readers:
        found = list(readers.map(lambda planned: read_record(place, planned), plan))
    index = joined([part for part, _ in found], job.settings)
    records = [record for _, record in found]
    if not index.files:
        raise UserError(
            f"None of the {len(manifest.preparable())} videos of {manifest.uri} could be prepared, "
            f"the first: {records[0].broken[0]}"
        )
    prepared = prepared_manifest(
        manifest,
        index,
        {key: (reason, detail) for record in records for key, reason, detail in record.broken},
        place.uri,
    )
    marker = Marker(
        settings=job.settings,
        plan_hash=plan[0].plan_hash,
        index=write_shard_index(index, place),
        manifest=write_manifest(prepared, place).rpartition("/")[2],
        source_uri=manifest.uri,
        source_manifest_hash=manifest.content_hash,
        num_shards=len(index.files),
        num_videos=len(index.videos),
        num_frames=sum(video.num_frames for video in index.videos.values()),
        num_bytes=index.num_bytes,
    )
    wall_seconds = time.monotonic() - started
    report = make_report(
        place.uri,
        marker,
        prepared,
        records,
        num_reused_shards=num_reused,
        wall_seconds=wall_seconds,
        prices=prices,
    )
    place.write(REPORT, json.dumps(asdict(report), indent=1).encode())
    write_marker(marker, place)
    return prepared, report


def joined(parts: Sequence[ShardIndex], settings: ShardSettings) -> ShardIndex:
    """One index of the shards of `parts`, in their order; empty shards leave no gap."""
    files: list[ShardFile] = []
    videos: dict[str, ShardVideo] = {}
    for part in parts:
        videos.update({key: replace(video, shard=len(files)) for key, video in part.videos.items()})
        files += part.files
    return ShardIndex(settings, tuple(files), videos)


def prepared_manifest(
    manifest: Manifest, index: ShardIndex, broken: dict[str, tuple[str, str]], uri: str
) -> Manifest:
    """The manifest of the prepared videos.

    It has labels, groups, splits and frame counts of the originals, sizes and sha256 of what was
    made: so the hash of its videos differs from the originals' and from that of another quality.
    Quarantined videos stay in it, with their reason.
    """

    def prepared(record: VideoRecord) -> VideoRecord:
        if record.reason not in ("", NEEDS_PREPARE):
            return record
        if record.key in broken:
            reason, detail = broken[record.key]
            return replace(record, reason=reason, detail=detail)
        video = index.videos[record.key]
        settings = index.settings
        return replace(
            record,
            reason="",
            detail="",
            num_bytes=video.num_bytes,
            etag=Path(index.files[video.shard].name).stem,
            sha256=video.sha256,
            width=settings.width,
            height=settings.height,
            codec=settings.codec,
        )

    return Manifest(uri, tuple(prepared(record) for record in manifest.records))
