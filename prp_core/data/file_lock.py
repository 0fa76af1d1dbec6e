"""Locks between processes on open files (`flock`): the kernel frees each when its holder dies.

A system without `flock` has no such lock: whoever asks gets it, with a warning, so that one process
at a time may use a home there.
"""

from __future__ import annotations

import functools
import warnings
from typing import Protocol

try:
    import fcntl
except ImportError:  # a Python that was built without it
    fcntl = None  # type: ignore[assignment]


class HasFileno(Protocol):
    """An open file."""

    def fileno(self) -> int:
        """Its descriptor."""


def lock_file(file: int | HasFileno) -> None:
    """Hold `file` alone, until it is closed; waits for those that hold it."""
    if _is_offered():
        fcntl.flock(file, fcntl.LOCK_EX)


def lock_shared(file: int | HasFileno) -> None:
    """Hold `file` together with others that share it, until it is closed; waits for one that holds
    it alone. A lock of one's own is exchanged for this one.
    """
    if _is_offered():
        fcntl.flock(file, fcntl.LOCK_SH)


def try_lock(file: int | HasFileno) -> bool:
    """Hold `file` alone, until it is closed, if no one else holds it; whether that is so."""
    if _is_offered():
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def unlock(file: int | HasFileno) -> None:
    """Let go of `file`, of which a forked child may hold a copy."""
    if _is_offered():
        fcntl.flock(file, fcntl.LOCK_UN)


@functools.cache
def _is_offered() -> bool:
    if fcntl is None:
        warnings.warn(
            "This system has no flock: run one process at a time with this PRP_HOME", stacklevel=3
        )
    return fcntl is not None
