"""Whether a sweep has a driver now: the lock that it holds in the state folder."""

from __future__ import annotations

import fcntl
from pathlib import Path


def driver_of(state_dir: Path) -> str | None:
    """The process id of the sweep's driver, None where none runs.

    Looks by asking for a shared lock and giving it back at once; the file names the last driver,
    alive or not.
    """
    path = state_dir / "driver.lock"
    if not path.is_file():
        return None
    with path.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return lock.read().strip() or "unknown"
        fcntl.flock(lock, fcntl.LOCK_UN)
    return None
