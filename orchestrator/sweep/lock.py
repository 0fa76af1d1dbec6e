"""The lock of a sweep in its state folder: one driver at a time, and who it is."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from orchestrator.config.sweep_spec import SweepSpec
from prp_core.errors import UserError

FILE_NAME = "driver.lock"


@contextlib.contextmanager
def driver_lock(spec: SweepSpec) -> Iterator[None]:
    """Hold the lock of the sweep of `spec`. Raises `UserError` when another process drives it."""
    path = Path(spec.state_dir) / FILE_NAME
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise UserError(
                f"Sweep {spec.sweep_id} is being driven by process {lock.read().strip()}; "
                "stop that one first"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def driver_of(state_dir: Path) -> str | None:
    """The process id of the sweep's driver, None where none runs.

    Tries a shared lock and releases it at once; the file names the last driver, alive or not.
    """
    path = state_dir / FILE_NAME
    if not path.is_file():
        return None
    with path.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return lock.read().strip() or "unknown"
        fcntl.flock(lock, fcntl.LOCK_UN)
    return None
