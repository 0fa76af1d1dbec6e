"""The settings of the C library's allocator in a process that trains on a CPU.

By default glibc gives every large block back to the kernel when it is freed. A training step frees
and asks for the same blocks again and again, and the kernel clears each page of them anew: 6 to 8 %
of the CPU time of a small network's step. No number depends on it.
"""

from __future__ import annotations

import ctypes
import os

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of <malloc.h>
KEPT_BYTES = 1 << 30


def keep_freed_memory(kept_bytes: int = KEPT_BYTES) -> bool:
    """Keep up to `kept_bytes` of freed memory in this process, for its next allocations.

    False where nothing was changed: another C library than glibc, or settings of the user
    (``MALLOC_...`` or ``GLIBC_TUNABLES`` in the environment).
    """
    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        return False
    change = getattr(ctypes.CDLL(None), "mallopt", None)
    return change is not None and all(
        change(name, kept_bytes) for name in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD)
    )
