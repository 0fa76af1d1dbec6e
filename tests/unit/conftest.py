"""Each test process computes with one thread, and keeps the memory that it has been given."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # glibc's malloc.h
MOST_KEPT_BYTES = 3 << 29


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """One torch thread for the unit tests of a file, because small networks gain nothing from more,
    whatever other files have set; what was before comes back after them.
    """
    import torch  # not above: the process that only hands out the tests has no use for it

    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture(autouse=True, scope="session")
def kept_memory() -> Iterator[None]:
    """Freed memory stays with the process: fetching and clearing it anew for each large tensor is a
    fifth of the published networks' CPU time. Where malloc is not glibc's, nothing changes.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, -1)
    yield
    give_back()


@pytest.fixture(autouse=True)
def no_more_memory_kept_than_most_tests_need(kept_memory: None) -> Iterator[None]:
    """What a test of large networks or pictures leaves goes back: each fork would copy its table of
    pages.
    """
    yield
    pages = Path("/proc/self/statm")
    if pages.exists():
        resident = int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        if resident > MOST_KEPT_BYTES:
            give_back()


def give_back() -> None:
    """Give freed memory back to the kernel, where malloc is glibc's."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
