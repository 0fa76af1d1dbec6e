"""Waiting for a condition, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable

LOOK_SECONDS = 0.05
DEADLINE_SECONDS = 120.0


def wait_until(what: Callable[[], object], seconds: float = DEADLINE_SECONDS) -> None:
    """Return once ``what()`` is true. Raises `AssertionError` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, f"{what} is not true after {seconds:.0f} s"
        time.sleep(LOOK_SECONDS)
