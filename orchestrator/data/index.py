"""Indexing of a folder or bucket into a manifest: resumable, and reproducible to the byte."""

from __future__ import annotations

import csv
import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from orchestrator.config.cache_config import DEFAULT_CACHE_DIR, DEFAULT_CAPACITY_BYTES
from orchestrator.config.store_config import StoreConfig
from orchestrator.config.sweep_spec import home_dir
from orchestrator.data.index_journal import IndexJournal
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
from prp_core.data.indexing import index_videos
from prp_core.data.loader_config import LoaderConfig
from prp_core.data.manifest import SPLITS, Manifest, VideoRecord
from prp_core.data.object_store import LocalStore, ObjectStore
from prp_core.data.splits import (
    Labelling,
    labelling_of,
    read_split_files,
    relative_to_store,
    unmatched,
)
from prp_core.data.video_source import VideoSource
from prp_core.errors import UserError

LABEL_COLUMNS = ("label", "group", "split")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class IndexProgress:
    """The progress of an index run; `num_reused` videos were known and not read again."""

    num_done: int
    num_videos: int
    num_reused: int
    num_quarantined: int


def index(
    uri: str | Path,
    out_uri: str | Path | None = None,
    *,
    splits_dir: str | Path | None = None,
    split: int = 1,
    labels_csv: str | Path | None = None,
    loader: LoaderConfig | None = None,
    store: StoreConfig | None = None,
    num_workers: int | None = None,
    on_progress: Callable[[IndexProgress], None] | None = None,
    cache_dir: str | Path | None = None,
    cache_capacity_bytes: int = DEFAULT_CAPACITY_BYTES,
    state_dir: Path | None = None,
) -> tuple[Manifest, str]:
    """The manifest of the videos under `uri`, and the URI of its file in `out_uri`.

    `out_uri` is ``manifests`` in `state_dir` by default. `splits_dir` holds UCF101's or HMDB51's
    split files, of which `split` is taken; `labels_csv` is a table with the columns key and any of
    label, group, split. A run that was killed resumes from its journal in `state_dir` (default:
    ``~/.prp``). Videos from a bucket pass through the node's cache, where training finds them. A
    prepared place has a manifest already, which is taken, with the labels, groups and splits of the
    table where one is given. Raises `UserError`, `StoreUnavailable`.
    """
    check(num_workers is None or num_workers >= 1, "num_workers", num_workers, "must be at least 1")
    state_dir = state_dir or home_dir()
    videos = _open_videos(uri, store)
    out = open_store(out_uri or state_dir / "manifests", store)
    _refuse_output_among_videos(videos, out)
    table = _label_table(splits_dir, split, labels_csv)
    marker = read_marker(videos)
    if marker is not None:
        manifest = _relabelled(read_prepared_manifest(videos, marker, store), table)
        return manifest, write_manifest(manifest, out)
    check_not_unfinished(videos)
    loader = replace(
        loader or LoaderConfig(), num_decoders=num_workers or len(os.sched_getaffinity(0))
    )
    cache = NodeCache(
        Path(cache_dir or DEFAULT_CACHE_DIR).expanduser(), cache_capacity_bytes, videos
    )
    with (
        IndexJournal(state_dir / "index", videos.uri, loader) as journal,
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
    return Manifest(source.store.uri, tuple(records))


def _warn_of_absent(table: Mapping[str, Labelling], records: Sequence[VideoRecord]) -> None:
    absent = unmatched(table, (record.key for record in records))
    if absent:
        log.warning(
            "%d of the %d videos that the splits or labels name are not there, %r among them",
            len(absent),
            len(table),
            absent[0],
        )


def _relabelled(manifest: Manifest, table: Mapping[str, Labelling]) -> Manifest:
    """The manifest with what `table` states; unchanged where it is empty."""
    if not table:
        return manifest
    table = relative_to_store(table, manifest.uri)
    _warn_of_absent(table, manifest.records)
    return Manifest(
        manifest.uri,
        tuple(
            replace(record, **asdict(labelling_of(record.key, table)))
            for record in manifest.records
        ),
    )


def _without_local_paths(record: VideoRecord, videos: ObjectStore, cache_root: Path) -> VideoRecord:
    """The record as any machine would write it, with keys for local paths in its detail."""
    detail = re.sub(rf"{re.escape(str(cache_root))}/[\w./-]+", record.key, record.detail)
    if isinstance(videos, LocalStore):
        detail = detail.replace(str(videos.root / record.key), record.key)
    return replace(record, detail=detail)


def _open_videos(uri: str | Path, config: StoreConfig | None) -> ObjectStore:
    videos = open_store(uri, config)
    if isinstance(videos, LocalStore) and not videos.root.is_dir():
        raise UserError(
            f"There is no folder {videos.root}; name a folder of videos or s3://bucket/prefix"
        )
    if warning := check_region(uri, config):
        log.warning("%s", warning)
    return videos


def _refuse_output_among_videos(videos: ObjectStore, out: ObjectStore) -> None:
    if f"{out.uri}/".startswith(f"{videos.uri.rstrip('/')}/"):
        raise UserError(
            f"The manifest would go to {out.uri}, among the videos of {videos.uri}, "
            "and be indexed itself; choose a place outside"
        )


def _label_table(
    splits_dir: str | Path | None, split: int, labels_csv: str | Path | None
) -> dict[str, Labelling]:
    if splits_dir and labels_csv:
        raise UserError(
            f"Give split files ({splits_dir}) or a table of labels ({labels_csv}), not both; "
            "the table has a column for splits"
        )
    if splits_dir:
        return read_split_files(splits_dir, split)
    return read_label_table(Path(labels_csv)) if labels_csv else {}


def read_label_table(path: Path) -> dict[str, Labelling]:
    """The table of a CSV file: the column ``key`` and any of ``label``, ``group``, ``split``.

    An empty cell states nothing. Raises `UserError` that names the line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or []
            if (
                "key" not in columns
                or not set(columns) & set(LABEL_COLUMNS)
                or len(set(columns)) < len(columns)
            ):
                raise UserError(
                    f"{path}: its first line is {','.join(columns)!r}; "
                    "it must name the column key and some of label, group, split"
                )
            table: dict[str, Labelling] = {}
            for row in reader:
                _add_row(table, row, f"{path}, line {reader.line_num}")
            return table
    except FileNotFoundError:
        raise UserError(f"{path}: no such table of labels") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as a CSV table: {error}") from error


def _add_row(table: dict[str, Labelling], row: Mapping[str, str | None], where: str) -> None:
    key = (row.get("key") or "").strip()
    if not key:
        raise UserError(f"{where}: the key is empty")
    cells = {name: (row.get(name) or "").strip() or None for name in LABEL_COLUMNS}
    if cells["split"] not in (None, *SPLITS):
        raise UserError(f"{where}: split {cells['split']!r}; write train, val, test or nothing")
    if table.setdefault(key, Labelling(**cells)) != Labelling(**cells):
        raise UserError(f"{where}: {key!r} stands there a second time and says something else")
