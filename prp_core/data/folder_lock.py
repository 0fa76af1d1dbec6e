"""An exclusive lock between processes on one folder, and making a change to a folder durable."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

from prp_core.data.file_lock import try_lock, unlock
from prp_core.errors import StoreUnavailable

LOCK_SECONDS = 30.0
POLL_SECONDS = 0.001
# A network file system that turns flock into POSIX locks wants a file that is open for writing.
NEEDS_A_FILE = {errno.EBADF, errno.EISDIR, errno.EINVAL}


@contextlib.contextmanager
def locked_folder(
    folder: Path, lock_name: str, *, lock_seconds: float = LOCK_SECONDS
) -> Iterator[None]:
    """Hold the lock on `folder` (`flock`): the kernel frees it when its holder dies.

    Where a folder cannot be locked itself (NFS), the file `lock_name` in it is. Raises
    `StoreUnavailable` when another process holds the lock for `lock_seconds`, as one does that was
    stopped (SIGSTOP) in the microseconds of a change.
    """
    file_descriptor = _open_locked(folder, lock_name, lock_seconds)
    try:
        yield
    finally:
        # Not by closing alone: a child forked in between holds a copy of the descriptor.
        unlock(file_descriptor)
        os.close(file_descriptor)


def sync_folder(folder: Path) -> None:
    """Wait until the names in `folder` are on the disk, so that they outlive a power failure."""
    file_descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file_descriptor)
    finally:
        os.close(file_descriptor)


def make_folder(folder: Path, mode: int) -> None:
    """Make `folder` and those above it that are missing, each with `mode`, durably."""
    missing = [folder, *folder.parents]
    missing = missing[: next(number for number, path in enumerate(missing) if path.is_dir())]
    for path in reversed(missing):
        with contextlib.suppress(FileExistsError):  # another process was first
            path.mkdir(mode)
        sync_folder(path.parent)


def _open_locked(folder: Path, lock_name: str, lock_seconds: float) -> int:
    """The file descriptor of the folder, or of the file in it, that is locked now."""
    try:
        return _open_and_lock(folder, os.O_RDONLY | os.O_DIRECTORY, folder, lock_seconds)
    except OSError as error:
        if error.errno not in NEEDS_A_FILE:
            raise
    return _open_and_lock(folder / lock_name, os.O_RDWR | os.O_CREAT, folder, lock_seconds)


def _open_and_lock(path: Path, flags: int, folder: Path, lock_seconds: float) -> int:
    file_descriptor = os.open(path, flags | os.O_CLOEXEC, 0o666)
    give_up_at = time.monotonic() + lock_seconds
    try:
        while True:
            if try_lock(file_descriptor):
                return file_descriptor
            if time.monotonic() > give_up_at:
                raise StoreUnavailable(
                    f"{folder.as_uri()} was locked by another process for {lock_seconds:.0f} "
                    "s; one that was suspended during a write? Resume it or end it"
                )
            time.sleep(POLL_SECONDS)
    except BaseException:
        os.close(file_descriptor)
        raise
