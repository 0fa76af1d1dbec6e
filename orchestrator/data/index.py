"""Indexing of a folder or bucket into a manifest: resumable, and reproducible to the byte."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from orchestrator.config.cache_config import CacheConfig
from orchestrator.config.store_config import StoreConfig
from orchestrator.config.sweep_spec import home_dir
from orchestrator.config.typed_command import prp
from orchestrator.data.index_journal import IndexJournal
from orchestrator.data.label_source import LabelSource
from orchestrator.storage.manifest_file import write_manifest
from orchestrator.storage.open_store import open_store
from orchestrator.storage.prepared_place import (
    check_not_unfinished,
    read_marker,
    read_prepared_manifest,
)
from orchestrator.storage.store_region import check_region
from prp_core.checks import check
from prp_core.data.cache.node_cache import NodeCache
from prp_core.data.copies import describe_copies
from prp_core.data.folder_layout import folder_layout
from prp_core.data.indexing import index_videos
from prp_core.data.loader_config import LoaderConfig
from prp_core.data.manifest import Manifest, VideoRecord
from prp_core.data.object_store import LocalStore, ObjectStore
from prp_core.data.splits import Labelling, labellings, relative_to_store, unmatched
from prp_core.data.video_source import VideoSource
from prp_core.errors import UserError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class IndexProgress:
    """The progress of an index run; `num_reused` videos were known and not read again."""

    num_done: int
    num_videos: int
    num_reused: int
    num_quarantined: int


@dataclass(frozen=True, kw_only=True)
class IndexJob:
    """What an index run reads, how, and where its manifest and its journal go."""

    uri: str | Path
    """The videos: a folder, or ``s3://bucket/prefix``."""
    out_uri: str | Path | None = None
    """Where the manifest goes; None: ``manifests`` in `state_dir`."""
    labels: LabelSource = field(default_factory=LabelSource)
    """Labels, groups and splits that are not in the folders' names."""
    loader: LoaderConfig = field(default_factory=LoaderConfig)
    """The decoder and its limits; its `num_decoders` is not used."""
    num_workers: int | None = None
    """Videos verified at a time; None: one for each CPU."""
    store: StoreConfig = field(default_factory=StoreConfig)
    """How a bucket is reached."""
    cache: CacheConfig = field(default_factory=CacheConfig)
    """The node's cache, through which videos from a bucket pass and where training finds them."""
    state_dir: Path = field(default_factory=home_dir)
    """The folder of the journal, from which a killed run resumes."""

    def __post_init__(self) -> None:
        check(
            self.num_workers is None or self.num_workers >= 1,
            "num_workers",
            self.num_workers,
            "must be at least 1",
        )


def index(
    job: IndexJob, *, on_progress: Callable[[IndexProgress], None] | None = None
) -> tuple[Manifest, str]:
    """The manifest of the videos of `job`, and the URI of its file.

    A prepared place has a manifest already, which is taken, with the labels, groups and splits of
    ``job.labels`` where it states any. Raises `UserError`, `StoreUnavailable`.
    """
    videos = open_videos(job.uri, job.store)
    if warning := check_region(job.uri, job.store):
        log.warning("%s", warning)
    out = open_store(job.out_uri or job.state_dir / "manifests", job.store)
    _refuse_output_among_videos(videos, out)
    table = job.labels.table()
    marker = read_marker(videos)
    if marker is not None:
        manifest = relabelled(read_prepared_manifest(videos, marker, job.store), table)
        return manifest, write_manifest(manifest, out)
    check_not_unfinished(videos)
    num_decoders = job.num_workers or num_usable_cpus()
    loader = replace(job.loader, num_decoders=num_decoders)
    cache = NodeCache(job.cache.folder, job.cache.capacity_bytes, videos)
    with (
        IndexJournal(job.state_dir / "index", videos.uri, loader) as journal,
        VideoSource(videos, cache, loader) as source,
    ):
        manifest = _run(source, journal, table, cache.root, on_progress or (lambda progress: None))
    return manifest, write_manifest(manifest, out)


def _run(
    source: VideoSource,
    journal: IndexJournal,
    table: Mapping[str, Labelling],
    cache_root: Path,
    on_progress: Callable[[IndexProgress], None],
) -> Manifest:
    known = journal.known
    records = []
    num_all = 0
    num_reused = 0
    num_quarantined = 0

    def remember(done: int, num_videos: int) -> None:
        nonlocal num_all
        num_all = num_videos

    for record in index_videos(source, known=known, table=table, on_progress=remember):
        record = _without_local_paths(record, source.store, cache_root)
        old = known.get(record.key)
        if old is not None and (old.etag, old.num_bytes) == (record.etag, record.num_bytes):
            num_reused += 1
        else:
            journal.add(record)
        records.append(record)
        num_quarantined += bool(record.reason)
        on_progress(IndexProgress(len(records), num_all, num_reused, num_quarantined))
    _warn_of_absent(relative_to_store(table, source.store.uri), records)
    if copies := describe_copies(records):
        log.warning("%s", copies)
    return Manifest(source.store.uri, tuple(records))


def advice_to_prepare(manifest: Manifest) -> str:
    """How the videos that are too expensive to read at random become usable; "" without any."""
    count = len(manifest.preparable()) - len(manifest.usable())
    if not count:
        return ""
    command = prp(f"data prepare {manifest.uri} DST")
    videos, it = ("1 video needs", "it") if count == 1 else (f"{count} videos need", "them")
    return f"{videos} preparing before training can use {it}: {command}"


def _warn_of_absent(table: Mapping[str, Labelling], records: Sequence[VideoRecord]) -> None:
    absent = unmatched(table, (record.key for record in records))
    if absent:
        log.warning(
            "%d of the %d videos that the splits or labels name are not there, %r among them",
            len(absent),
            len(table),
            absent[0],
        )


def relabelled(manifest: Manifest, table: Mapping[str, Labelling]) -> Manifest:
    """The manifest with what `table` states; unchanged where it is empty."""
    if not table:
        return manifest
    table = relative_to_store(table, manifest.uri)
    _warn_of_absent(table, manifest.records)
    keys = [record.key for record in manifest.records]
    said = labellings(keys, table, folder_layout(keys))
    return Manifest(
        manifest.uri,
        tuple(replace(record, **asdict(said[record.key])) for record in manifest.records),
    )


def _without_local_paths(record: VideoRecord, videos: ObjectStore, cache_root: Path) -> VideoRecord:
    """The record as any machine would write it, with keys for local paths in its detail."""
    in_cache = rf"{re.escape(str(cache_root))}/[\w./-]+"
    detail = re.sub(in_cache, lambda match: record.key, record.detail)
    if isinstance(videos, LocalStore):
        for place in (f"{videos.uri}/{record.key}", str(videos.root / record.key)):
            detail = detail.replace(place, record.key)
    return replace(record, detail=detail)


def open_videos(uri: str | Path, config: StoreConfig) -> ObjectStore:
    """The store of the videos under `uri`. Raises `UserError` for a folder that is not there."""
    videos = open_store(uri, config)
    if isinstance(videos, LocalStore) and not videos.root.is_dir():
        raise UserError(
            f"There is no folder {videos.root}; name a folder of videos or s3://bucket/prefix"
        )
    return videos


def _refuse_output_among_videos(videos: ObjectStore, out: ObjectStore) -> None:
    if f"{out.uri}/".startswith(f"{videos.uri.rstrip('/')}/"):
        raise UserError(
            f"The manifest would go to {out.uri}, among the videos of {videos.uri}, "
            "and be indexed itself; choose a place outside"
        )


def num_usable_cpus() -> int:
    """The CPUs that this process may use; where the system does not say (macOS), all of them."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
