"""Writing of a file of a local store: durable bytes, and a time of change of its own."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from prp_core.errors import StoreUnavailable

CHUNK_BYTES = 1 << 20


def set_new_time(path: Path, there: os.stat_result | None) -> None:
    """Give the file a time of change that is its own to the nanosecond, and later than that of the
    file `there`, which it replaces.

    The kernel's own times advance in ticks of milliseconds, in which two writes of one size would
    have the same etag. A file system that keeps coarser times is given a time further on.
    """
    now = time.time_ns() if there is None else max(time.time_ns(), there.st_mtime_ns + 1)
    for step in (0, 1_000, 1_000_000, 1_000_000_000, 3_000_000_000):
        os.utime(path, ns=(now + step, now + step))
        if there is None or path.stat().st_mtime_ns > there.st_mtime_ns:
            return
    raise StoreUnavailable(f"{path.parent.as_uri()} keeps no times of change for its files")


def write_file(path: Path, data: bytes | Path, mode: int) -> None:
    """Write `data` (bytes, or the content of a file) to the new file `path`, down to the disk."""
    pieces = iter([data]) if isinstance(data, bytes) else _file_pieces(data)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, mode), "wb") as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())


def _file_pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(CHUNK_BYTES):
            yield piece
