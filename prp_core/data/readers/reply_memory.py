"""The memory for the frames of one reply: shared with the client where it lent some, else new."""

from __future__ import annotations

import errno
import math
import mmap
import os
from typing import Any

import numpy as np

from prp_core.data.readers.video_reader import new_frames


class ReplyMemory:
    """Where a reader puts the frames of one request.

    `descriptor` is the client's shared memory (None: there is none), `first_row` the place of the
    first frame in it, counted in frames. With `backwards` the frames lie there in reverse order.
    """

    def __init__(self, descriptor: int | None, first_row: int = 0, *, backwards: bool = False):
        self._descriptor = descriptor
        self._first_row = first_row
        self._backwards = backwards
        self._shared: np.ndarray | None = None

    def allocate(self, shape: tuple[int, ...]) -> np.ndarray:
        """See `video_reader.Allocate`; frames that do not fit into what was lent get new memory."""
        self._shared = None
        num_bytes = math.prod(shape)
        start = self._first_row * (num_bytes // shape[0])
        if self._descriptor is None or start + num_bytes > os.fstat(self._descriptor).st_size:
            return new_frames(shape)
        before = start % mmap.ALLOCATIONGRANULARITY
        flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
        try:
            mapping = mmap.mmap(
                self._descriptor, before + num_bytes, flags=flags, offset=start - before
            )
        except OSError as error:
            if error.errno == errno.ENOMEM:
                raise MemoryError(f"Unable to allocate {num_bytes} bytes") from None
            return new_frames(shape)
        frames = np.frombuffer(mapping, np.uint8, num_bytes, before).reshape(shape)
        self._shared = frames[::-1] if self._backwards else frames
        return self._shared

    def holds(self, frames: Any) -> bool:
        """Whether `frames` lie in the client's memory, so that nothing has to be sent."""
        return frames is not None and frames is self._shared

    def close(self) -> None:
        """Give the client's memory back."""
        self._shared = None
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
