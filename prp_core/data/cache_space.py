"""The bounded disk space of a node's cache: who may take how much, and what makes room.

The file system is the only state, so a kill -9 anywhere leaves nothing to repair: a number in ``usage`` under one lock, rebuilt
from the folders whenever it says "full". A file that somebody reads or writes is locked by them, and only files that nobody has
locked are ever removed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from prp_core.errors import UserError

ABANDONED_AFTER_SECONDS = 5
STALE_AFTER_SECONDS = 86400
EXTRA_SHARE_FREED = 0.02


@dataclass(frozen=True)
class _Entry:
    used_at: float
    loaded_at: float
    num_bytes: int
    path: Path


class CacheSpace:
    """`capacity_bytes` under `root`, shared by every process that opens the same folder.

    A scan over more data than fits defeats least-recently-used: nothing would be left when the next epoch needs it. So
    `sticky_share` of the capacity stays as it was first loaded, and the newest rest is recycled.
    """

    def __init__(self, root: Path, capacity_bytes: int, sticky_share: float, count: Callable[..., None]) -> None:
        self.objects, self.unfinished, self._locks = root / "objects", root / "unfinished", root / "locks"
        for folder in (self.objects, self.unfinished, self._locks):
            folder.mkdir(parents=True, exist_ok=True)
        self._usage_file = root / "usage"
        self._capacity_bytes, self._sticky_share, self._count = capacity_bytes, sticky_share, count

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """The node-wide lock `name`; released by the kernel when its holder dies."""
        file_descriptor = os.open(self._locks / name, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(file_descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(file_descriptor)

    def reserve(self, path: Path, num_bytes: int) -> tuple[int, bool]:
        """(descriptor of the new file at `path`, locked, its blocks allocated; whether it fits and may stay)."""
        with self.lock("usage"):
            usage = self._usage() + num_bytes
            if usage > self._capacity_bytes:
                usage = self._make_room(num_bytes) + num_bytes
            stays = usage <= self._capacity_bytes
            file_descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(file_descriptor, fcntl.LOCK_EX)
                if num_bytes:
                    os.posix_fallocate(file_descriptor, 0, num_bytes)
            except OSError as error:
                os.close(file_descriptor)
                path.unlink()
                if error.errno == errno.ENOSPC:
                    raise UserError(f"{path.parent}: the disk has no room for {num_bytes} bytes; lower the cache's capacity or move it") from None
                raise
            if stays:
                self._set_usage(usage)
            return file_descriptor, stays

    def release(self, num_bytes: int) -> None:
        """Give back what was reserved for a file that did not come to stay."""
        with self.lock("usage"):
            self._set_usage(self._usage() - num_bytes)

    def _usage(self) -> int:
        try:
            return int(self._usage_file.read_text())
        except (FileNotFoundError, ValueError):  # never written, or its writer was killed: count
            return sum(entry.num_bytes for entry in self._entries()) + self._unfinished_bytes()

    def _set_usage(self, num_bytes: int) -> None:
        self._usage_file.write_text(str(max(0, num_bytes)))

    def _make_room(self, num_bytes: int) -> int:
        """Remove unlocked files until `num_bytes` fit; what is in use then."""
        used = self._unfinished_bytes()  # counted first: a file renamed meanwhile counts twice, never zero times
        entries = self._entries()
        used += sum(entry.num_bytes for entry in entries)
        goal = self._capacity_bytes - max(num_bytes, int(self._capacity_bytes * EXTRA_SHARE_FREED))
        for entry in self._recycled(entries):
            if used <= goal:
                break
            if _remove_unlocked(entry.path):
                used -= entry.num_bytes
                self._count(evicted=1)
        return used

    def _recycled(self, entries: list[_Entry]) -> list[_Entry]:
        """What may go, first to go first: what nobody used for a day, then the window of newest loads, its oldest first."""
        window_bytes, window = self._capacity_bytes * (1 - self._sticky_share), list[_Entry]()
        for entry in sorted(entries, key=lambda entry: -entry.loaded_at):
            window_bytes -= entry.num_bytes
            if window_bytes < 0 and window:
                break
            window.append(entry)
        stale = sorted((entry for entry in entries if entry.used_at < time.time() - STALE_AFTER_SECONDS), key=lambda entry: entry.used_at)
        return stale + [entry for entry in reversed(window) if entry not in stale]

    def _entries(self) -> list[_Entry]:
        found = []
        for path in self.objects.glob("*/*"):
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                found.append(_Entry(status.st_atime, status.st_mtime, status.st_size, path))
        return found

    def _unfinished_bytes(self) -> int:
        """Bytes of files still being written; those whose writer died are removed."""
        total = 0
        for path in self.unfinished.iterdir():
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                if time.time() - status.st_mtime <= ABANDONED_AFTER_SECONDS or not _remove_unlocked(path):
                    total += status.st_size
        return total


def _remove_unlocked(path: Path) -> bool:
    """Unlink `path` unless somebody holds a lock on it; whether it is gone."""
    try:
        file_descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(file_descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(file_descriptor)
