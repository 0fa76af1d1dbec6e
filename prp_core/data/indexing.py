"""Indexing: each object of a store is fetched, hashed, sniffed and decoded into a record."""

from __future__ import annotations

import hashlib
import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

from prp_core.data.container_sniffing import check_container
from prp_core.data.decode_limits import seconds_of_inspection, why_needs_prepare
from prp_core.data.folder_layout import folder_layout
from prp_core.data.manifest import VideoRecord
from prp_core.data.object_store import ObjectInfo, ObjectRef
from prp_core.data.splits import (
    Labelling,
    labellings,
    relative_to_store,
    unmatched,
)
from prp_core.data.video_source import VideoSource
from prp_core.errors import NEEDS_PREPARE, BrokenVideo, ObjectRefused, UserError

log = logging.getLogger(__name__)

NUM_AHEAD_PER_WORKER = 4
MOST_REFUSED_AT_FIRST = 20


def index_videos(
    source: VideoSource,
    *,
    known: Mapping[str, VideoRecord] | None = None,
    table: Mapping[str, Labelling] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    num_workers: int | None = None,
    inspect_timeout_seconds: float = 600.0,
) -> Iterator[VideoRecord]:
    """A record for every object of `source`'s store, in the order of keys.

    Broken videos carry their reason. A record of `known` is reused while the object's etag and size
    are those it names (labels, groups and splits are set anew), so an index run that was killed
    resumes. `on_progress` is called with (done, all) before each record is yielded. Raises
    `UserError` when the store's uri holds nothing, no entry of `table` matches, or the store gives
    none of the objects, and `StoreUnavailable`.
    """
    listed = list(source.store.list())
    known = known or {}
    table = relative_to_store(table or {}, source.store.uri)
    _check_listing(source.store.uri, listed, table)
    layout = folder_layout(info.key for info in listed)
    said = labellings((info.key for info in listed), table, layout)
    if layout.are_hashes:
        log.warning(
            "%s: the folders are hash prefixes (%s/...) and no classes; give labels as a table",
            source.store.uri,
            listed[0].key.split("/")[0],
        )

    spelt = _in_utf8(listed)

    def record_of(info: ObjectInfo) -> VideoRecord:
        if info.key in spelt:
            return _misnamed(info, spelt[info.key])
        old = known.get(info.key)
        same = old is not None and (old.etag, old.num_bytes) == (info.etag, info.num_bytes)
        found = (
            old
            if old is not None and same
            else inspect_object(source, info, inspect_timeout_seconds)
        )
        return replace(found, **asdict(said[info.key]))

    num_refused = 0
    num_workers = num_workers or source.loader.num_decoders
    for done, record in enumerate(_in_parallel(record_of, listed, num_workers), start=1):
        num_refused += record.reason == "unreadable"
        if num_refused == done and done in (MOST_REFUSED_AT_FIRST, len(listed)):
            raise UserError(record.detail)  # it is not one object's fault
        if on_progress is not None:
            on_progress(done, len(listed))
        yield record


def _in_parallel(
    record_of: Callable[[ObjectInfo], VideoRecord], listed: list[ObjectInfo], num_workers: int
) -> Iterator[VideoRecord]:
    """`record_of` each object in threads, in the order of `listed`."""
    ahead: deque[Future[VideoRecord]] = deque()
    pool = ThreadPoolExecutor(num_workers, thread_name_prefix="indexing")
    waiting = iter(listed)
    try:
        for _ in listed:
            while (
                len(ahead) < NUM_AHEAD_PER_WORKER * num_workers
                and (info := next(waiting, None)) is not None
            ):
                ahead.append(pool.submit(record_of, info))
            yield ahead.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _in_utf8(listed: list[ObjectInfo]) -> dict[str, str]:
    """A name for each key that is not UTF-8, with escapes for the bytes that are not."""
    keys = {info.key for info in listed}
    names: dict[str, str] = {}
    for info in listed:
        name = info.key.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        if name == info.key:
            continue
        while name in keys:
            name += "?"
        keys.add(name)
        names[info.key] = name
    return names


def _misnamed(info: ObjectInfo, name: str) -> VideoRecord:
    return VideoRecord(
        key=name,
        num_bytes=info.num_bytes,
        etag=info.etag,
        group=name,
        reason="bad-name",
        detail="its name is not UTF-8; rename it",
    )


def _check_listing(uri: str, listed: list[ObjectInfo], table: Mapping[str, Labelling]) -> None:
    if not listed:
        raise UserError(
            f"nothing lies under {uri}; name a folder or bucket prefix that holds videos"
        )
    if table and len(unmatched(table, (info.key for info in listed))) == len(table):
        raise UserError(
            f"none of the {len(table)} videos that the splits or labels name lies under {uri} "
            f"(they name {next(iter(table))!r}, there is {listed[0].key!r}); "
            "are they of another corpus, or is the folder one level off?"
        )


def inspect_object(source: VideoSource, info: ObjectInfo, timeout_seconds: float) -> VideoRecord:
    """The record of one object: figures, or the reason why it cannot be used.

    Without label, group and split.
    """
    record = VideoRecord(key=info.key, num_bytes=info.num_bytes, etag=info.etag)
    if info.num_bytes == 0:
        return replace(record, reason="empty", detail="0 bytes")
    ref = ObjectRef(info.key, info.num_bytes, info.etag)
    try:
        with source.local_file(ref) as path:
            record = replace(record, sha256=_sha256(path))
            check_container(path)
            seconds = seconds_of_inspection(timeout_seconds, info.num_bytes)
            found = source.inspect(ref, path, timeout_seconds=seconds)
            figures = asdict(found)
            del figures["num_frames_to_read_one"]
            why = why_needs_prepare(found, source.loader.max_pixels_decoded)
            return replace(record, **figures, reason=NEEDS_PREPARE if why else "", detail=why)
    except BrokenVideo as error:
        return replace(record, reason=error.reason, detail=error.detail)
    except ObjectRefused as error:
        return replace(record, reason="unreadable", detail=str(error))


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        detail = f"{path} cannot be read ({error.strerror}); change its permissions or copy it"
        raise BrokenVideo(str(path), "unreadable", detail) from error
