"""A prepare task: one planned shard is made on some node, stored, and recorded, in this order."""

from __future__ import annotations

import hashlib
import resource
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from orchestrator.config.cache_config import CacheConfig
from orchestrator.config.store_config import StoreConfig
from orchestrator.storage.open_store import open_store
from orchestrator.storage.shard_index_file import index_from_parquet, index_to_parquet
from prp_core.data.cache.node_cache import NodeCache
from prp_core.data.loader_config import LoaderConfig
from prp_core.data.object_store import ObjectStore, read_all
from prp_core.data.shards.index import ShardFile, ShardIndex, ShardSettings
from prp_core.data.shards.planning import PlannedShard
from prp_core.data.shards.writing import WrittenShard, write_shard
from prp_core.data.video_source import VideoSource
from prp_core.documents import record_from
from prp_core.errors import BrokenVideo, ObjectExists, UserError
from prp_core.world import use_threads

SHARDS = "shards"
RECORDS = "records"


@dataclass(frozen=True, kw_only=True)
class PrepareJob:
    """What all tasks of a prepare run share; places are URIs that every node can open."""

    source_uri: str
    uri: str
    settings: ShardSettings
    loader: LoaderConfig
    store: StoreConfig
    cache: CacheConfig


@dataclass(frozen=True, kw_only=True)
class ShardRecord:
    """What making one shard produced and cost.

    `broken` holds (key, reason, detail) of the videos that it left out.
    """

    number: int
    num_videos: int
    num_frames: int
    bytes_in: int
    num_gets: int
    wall_seconds: float
    cpu_seconds: float
    broken: tuple[tuple[str, str, str], ...]


def make_shard(job: PrepareJob, planned: PlannedShard) -> ShardRecord:
    """Make, store and record the shard. Raises `StoreUnavailable`.

    A second call, or two at once, leave the same objects.
    """
    use_threads(1)
    started = time.monotonic()
    cpu = _cpu_seconds()
    place = open_store(job.uri, job.store, check=False)
    videos = open_store(job.source_uri, job.store, check=False)
    cache = NodeCache(job.cache.folder, job.cache.capacity_bytes, videos)
    name = f"{SHARDS}/{planned.stem}.tar"
    # A file without a name: nothing is left of it however this process ends.
    with tempfile.TemporaryFile(dir=cache.root) as file:
        with VideoSource(videos, cache, job.loader) as source:
            written = write_shard(source, planned.records, job.settings, file, number=0)
        if written.videos:
            file.seek(0)  # elsewhere than on Linux, opening /dev/fd/N goes on where N stands
            descriptors = Path("/proc/self/fd")
            if not descriptors.is_dir():
                descriptors = Path("/dev/fd")
            _put(place, name, descriptors / str(file.fileno()), written)
    files = (ShardFile(name, written.num_bytes, written.sha256),) if written.videos else ()
    index = ShardIndex(job.settings, files, {video.key: video for video in written.videos})
    record = ShardRecord(
        number=planned.number,
        num_videos=len(written.videos),
        num_frames=sum(video.num_frames for video in written.videos),
        bytes_in=sum(video.source_num_bytes for video in written.videos),
        num_gets=int(cache.counters["downloads"]),
        wall_seconds=time.monotonic() - started,
        cpu_seconds=_cpu_seconds() - cpu,
        broken=tuple(_reason(error, cache.root, job) for error in written.broken),
    )
    place.write(record_name(planned), index_to_parquet(index, asdict(record)))
    return record


def record_name(planned: PlannedShard) -> str:
    """The key of the record whose existence says that the shard is finished."""
    return f"{RECORDS}/{planned.stem}.parquet"


def read_record(place: ObjectStore, planned: PlannedShard) -> tuple[ShardIndex, ShardRecord]:
    """(the index of the finished shard alone, its record). Raises `UserError`, `ObjectMissing`."""
    name = record_name(planned)
    index, extra = index_from_parquet(read_all(place, name), f"{place.uri}/{name}")
    try:
        return index, record_from(ShardRecord, extra)
    except ValueError as error:
        raise UserError(
            f"{place.uri}/{name} is not a shard's record ({error}); delete it and prepare again"
        ) from None


def _put(place: ObjectStore, name: str, path: Path, written: WrittenShard) -> None:
    """Store the shard unless its very bytes are there, left by a run killed before its record."""
    try:
        place.write(name, path, if_absent=True)
    except ObjectExists:
        there = hashlib.sha256()
        for piece in place.read(name):
            there.update(piece)
        if there.hexdigest() != written.sha256:  # nobody can have read it: there is no record of it
            place.write(name, path)


def _reason(error: BrokenVideo, cache_root: Path, job: PrepareJob) -> tuple[str, str, str]:
    """(key, reason, detail), the detail without this node's paths."""
    detail = error.detail.replace(str(cache_root), "cache").replace(
        job.source_uri.removeprefix("file://"), ""
    )
    return error.key, error.reason, detail


def _cpu_seconds() -> float:
    """CPU seconds of this process, and of its decoders that have ended."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
