"""Whether an error says that memory ran out."""

from __future__ import annotations

import torch

CPU_ALLOCATOR_WORDS = ("DefaultCPUAllocator", "not enough memory", "can't allocate memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` is torch's or Python's word for memory that could not be had, on a GPU or on the CPU.

    (torch's CPU allocator raises a plain `RuntimeError`, which only its text tells apart.)
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in CPU_ALLOCATOR_WORDS)
