"""The bounded disk space of one tier of a node's cache: reservation, locks and eviction.

The file system is the only state, so a kill -9 at any point leaves nothing to repair: the number in
``usage``, changed under one lock, is counted anew whenever the tier seems full. A file that is
being read or written is locked, and only files without a lock are evicted.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from prp_core.checks import check
from prp_core.data.file_lock import lock_file, lock_shared, try_lock
from prp_core.errors import DiskFull

CHUNK_BYTES = 1 << 20
ABANDONED_AFTER_SECONDS = 5
STALE_AFTER_SECONDS = 86400
EXTRA_SHARE_FREED = 0.02
FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Entry:
    """A complete file of the cache; times are seconds since the epoch."""

    used_at: float
    loaded_at: float
    num_bytes: int
    path: Path


class CacheSpace:
    """`capacity_bytes` under `root`, shared by every process that opens the same folder.

    Each process may have a capacity of its own. Least-recently-used eviction fails for a scan over
    more data than fits: nothing would be left when the next epoch needs it. So `sticky_share` of
    the capacity stays as it was first loaded, and the rest is evicted. Opening it removes what
    killed writers left.
    """

    def __init__(
        self, root: Path, capacity_bytes: int, sticky_share: float, count: Callable[..., None]
    ) -> None:
        check(capacity_bytes > 0, "cache capacity_bytes", capacity_bytes, "must be positive")
        check(0 <= sticky_share <= 1, "cache sticky_share", sticky_share, "must lie in 0 to 1")
        self.root = root
        self.objects = root / "objects"
        self.unfinished = root / "unfinished"
        self._locks = root / "locks"
        for folder in (self.objects, self.unfinished, self._locks):
            folder.mkdir(parents=True, exist_ok=True)
        self._usage_file = root / "usage"
        self.capacity_bytes = capacity_bytes
        self.sticky_share = sticky_share
        self._count = count
        write_beside(root / "capacity", str(capacity_bytes))
        with self.lock("usage"):
            self._unfinished_bytes()

    def place(self, name: str) -> Path:
        """The path of the complete file `name`; its first two letters name its folder."""
        return self.objects / name[:2] / name

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """The node-wide lock `name`; released by the kernel when its holder dies."""
        file_descriptor = os.open(self._locks / name, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
        try:
            lock_file(file_descriptor)
            yield
        finally:
            os.close(file_descriptor)

    def pin(self, path: Path, num_bytes: int) -> int | None:
        """A descriptor of the complete file with a shared lock; None when there is no file."""
        try:
            file_descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        lock_shared(file_descriptor)
        status = os.fstat(file_descriptor)
        if status.st_nlink and status.st_size == num_bytes:
            # Access time: last use. Modification time: when it was loaded.
            os.utime(file_descriptor, ns=(time.time_ns(), status.st_mtime_ns))
            return file_descriptor
        if status.st_nlink:  # torn by a power loss
            path.unlink(missing_ok=True)
        os.close(file_descriptor)  # or removed between open and lock
        return None

    def touch(self, path: Path) -> None:
        """Record that a complete file was used until now, if it still exists."""
        with contextlib.suppress(FileNotFoundError):
            os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))

    def reserve(
        self, name: str, num_bytes: int, *, must_stay: bool = False
    ) -> tuple[Path, int | None, bool]:
        """Make a new unfinished file for `name`: (its path, its descriptor, whether it may stay).

        The file is locked and its blocks are allocated. With `must_stay` a file that does not fit
        is not made, and the descriptor is None. Raises `DiskFull`.
        """
        path = self.unfinished / f"{name}.{secrets.token_hex(4)}"
        with self.lock("usage"):
            usage = self._usage() + num_bytes
            if usage > self.capacity_bytes:
                usage = self._make_room(num_bytes) + num_bytes
            stays = usage <= self.capacity_bytes
            if must_stay and not stays:
                return path, None, False
            file_descriptor = _allocate(path, num_bytes)
            if stays:
                self._set_usage(usage)
            return path, file_descriptor, stays

    def finish(self, unfinished: Path, file_descriptor: int, name: str) -> Path:
        """Rename the unfinished file to its place; its writer's lock becomes a reader's."""
        place = self.place(name)
        lock_shared(file_descriptor)
        place.parent.mkdir(exist_ok=True)
        unfinished.rename(place)
        return place

    def abandon(self, unfinished: Path, file_descriptor: int, num_bytes: int) -> None:
        """Remove an unfinished file and release the `num_bytes` reserved for it (0: none were)."""
        unfinished.unlink(missing_ok=True)
        os.close(file_descriptor)
        if num_bytes:
            self.release(num_bytes)

    def release(self, num_bytes: int) -> None:
        """Subtract the bytes of a removed file from the usage."""
        with self.lock("usage"):
            self._set_usage(self._usage() - num_bytes)

    def clear(
        self, *, keep: Callable[[Entry], bool] = lambda entry: False
    ) -> tuple[list[Entry], list[Entry]]:
        """Remove every entry that is not in use and that `keep` rejects: (removed, in use)."""
        with self.lock("usage"):
            chosen = [entry for entry in self.entries() if not keep(entry)]
            removed = [entry for entry in chosen if _remove_unlocked(entry.path)]
            gone = {entry.path for entry in removed}
            self._usage_file.unlink(missing_ok=True)
            self._set_usage(self._usage())
        return removed, [entry for entry in chosen if entry.path not in gone]

    def entries(self) -> list[Entry]:
        """The complete files, in no order."""
        found = []
        for path in self.objects.glob("*/*"):
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                found.append(Entry(status.st_atime, status.st_mtime, status.st_size, path))
        return found

    def _usage(self) -> int:
        try:
            return int(self._usage_file.read_text())
        except (FileNotFoundError, ValueError):  # never written, or its writer was killed: count
            return sum(entry.num_bytes for entry in self.entries()) + self._unfinished_bytes()

    def _set_usage(self, num_bytes: int) -> None:
        try:
            self._usage_file.write_text(str(max(0, num_bytes)))
        except OSError:  # a full disk; without the file the next one counts
            self._usage_file.unlink(missing_ok=True)

    def _make_room(self, num_bytes: int) -> int:
        """Evict unlocked files until `num_bytes` fit; returns the bytes in use then."""
        used = self._unfinished_bytes()  # first: a file renamed meanwhile counts twice, never not
        entries = self.entries()
        used += sum(entry.num_bytes for entry in entries)
        goal = self.capacity_bytes - max(num_bytes, int(self.capacity_bytes * EXTRA_SHARE_FREED))
        for entry in eviction_order(entries, self.capacity_bytes, self.sticky_share, time.time()):
            if used <= goal:
                break
            if _remove_unlocked(entry.path):
                used -= entry.num_bytes
                self._count(evicted=1)
        return used

    def _unfinished_bytes(self) -> int:
        """Bytes of files being written; those whose writer died are removed."""
        total = 0
        for path in self.unfinished.iterdir():
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                is_recent = time.time() - status.st_mtime <= ABANDONED_AFTER_SECONDS
                if is_recent or not _remove_unlocked(path):
                    total += status.st_size
        return total


def eviction_order(
    entries: Sequence[Entry], capacity_bytes: int, sticky_share: float, now: float
) -> list[Entry]:
    """The files that may be evicted, first to go first.

    First what nobody used for a day, then all but the sticky part, its oldest load first. Sticky
    are the first loads that fit into their share; the last load never is, so that something can
    always be evicted.
    """
    by_load = sorted(entries, key=lambda entry: entry.loaded_at)
    sticky_bytes = capacity_bytes * sticky_share
    num_sticky = 0
    for entry in by_load[:-1]:
        sticky_bytes -= entry.num_bytes
        if sticky_bytes < 0:
            break
        num_sticky += 1
    stale = sorted(
        (entry for entry in entries if entry.used_at < now - STALE_AFTER_SECONDS),
        key=lambda entry: entry.used_at,
    )
    first = {entry.path for entry in stale}
    return stale + [entry for entry in by_load[num_sticky:] if entry.path not in first]


def used_bytes(root: Path) -> int:
    """The recorded usage of the tier at `root`; 0 where there is no tier or no record yet."""
    try:
        return int((root / "usage").read_text())
    except (FileNotFoundError, ValueError):
        return 0


def is_in_use(path: Path) -> bool:
    """Whether some process reads or writes the file at this moment."""
    with _held_if_free(path) as is_free:
        return is_free is False


def write_beside(path: Path, text: str) -> None:
    """Replace the small file at `path` atomically, or on a full disk not at all."""
    beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        beside.write_text(text)
        beside.rename(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        if error.errno not in FULL_ERRORS:
            raise


def _allocate(path: Path, num_bytes: int) -> int:
    """The descriptor of a new file with its blocks allocated and an exclusive lock on it."""
    file_descriptor = None
    try:
        file_descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o644)
        lock_file(file_descriptor)
        if num_bytes:
            _allocate_blocks(file_descriptor, num_bytes)
        return file_descriptor
    except OSError as error:
        if file_descriptor is not None:
            os.close(file_descriptor)
        path.unlink(missing_ok=True)
        if error.errno in FULL_ERRORS:
            raise DiskFull(
                f"{path.parent}: there is no room on the disk for {num_bytes} bytes; "
                "lower the cache's capacity or move it (cache.dir)"
            ) from None
        raise


def _allocate_blocks(file_descriptor: int, num_bytes: int) -> None:
    """Give an empty file its size and its blocks. Raises `OSError` where there is no room."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file_descriptor, 0, num_bytes)
        return
    for start in range(0, num_bytes, CHUNK_BYTES):  # a Mac: a block is there once it is written
        rest = memoryview(bytes(min(CHUNK_BYTES, num_bytes - start)))
        while rest:
            rest = rest[os.write(file_descriptor, rest) :]
    os.lseek(file_descriptor, 0, os.SEEK_SET)


def _remove_unlocked(path: Path) -> bool:
    """Unlink `path` unless some process holds a lock on it; returns whether it is gone."""
    with _held_if_free(path) as is_free:
        if is_free:
            path.unlink(missing_ok=True)
        return is_free is not False


@contextlib.contextmanager
def _held_if_free(path: Path) -> Iterator[bool | None]:
    """Try to lock the file exclusively: True, False (locked by others), None (no such file)."""
    try:
        file_descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    try:
        yield try_lock(file_descriptor)
    finally:
        os.close(file_descriptor)
