"""The superuser's right to pass over permissions, taken from this thread for a while (Linux)."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator

CAPABILITY_VERSION_3 = 0x20080522
DAC_OVERRIDE = 1 << 1
DAC_READ_SEARCH = 1 << 2


@contextlib.contextmanager
def without_privileges() -> Iterator[None]:
    """Within the block permissions of files count, also for threads that it starts."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    held = (ctypes.c_uint32 * 6)()  # effective, permitted and inheritable, twice
    assert libc.capget(header, held) == 0, os.strerror(ctypes.get_errno())
    fewer = (ctypes.c_uint32 * 6)(*held)
    fewer[0] &= ~(DAC_OVERRIDE | DAC_READ_SEARCH)
    assert libc.capset(header, fewer) == 0, os.strerror(ctypes.get_errno())
    try:
        yield
    finally:
        assert libc.capset(header, held) == 0, os.strerror(ctypes.get_errno())
