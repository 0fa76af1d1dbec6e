"""Freed memory is used again without the kernel, unless the user has said how."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

COUNT_FAULTS = """
import ctypes, resource, sys
from prp_core.allocator import keep_freed_memory
print(keep_freed_memory())
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
def use():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = libc.malloc(64 << 20)
    ctypes.memset(block, 1, 64 << 20)
    libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(use(), use())
"""


IS_GLIBC = hasattr(ctypes.CDLL(None), "mallopt")


@pytest.mark.parametrize(
    ("settings", "is_changed"), [({}, IS_GLIBC), ({"MALLOC_ARENA_MAX": "2"}, False)]
)
def test_freed_memory_is_not_cleared_again(settings: dict[str, str], is_changed: bool) -> None:
    child = subprocess.run(
        [sys.executable, "-c", COUNT_FAULTS],
        env={"PYTHONPATH": ":".join(sys.path), **settings},
        capture_output=True,
        text=True,
        check=True,
    )
    changed, first, second = child.stdout.split()
    assert changed == str(is_changed) and int(first) > 100
    assert (int(second) < 10) == is_changed or not IS_GLIBC
