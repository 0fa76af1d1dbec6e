"""Shared memory into which a decode process writes frames, and where its client reads them.

Each segment is an anonymous file of this process (memfd: it has no name that another process could
open). Its size is sealed, so that no decoder can cut it short under a reader. It is lent to the
decode process with one request, and used again when the frames that it held are gone: pages that
exist already are written twice as fast as new ones.
"""

from __future__ import annotations

import errno
import logging
import math
import mmap
import os
import resource
import sys
import weakref
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np

from prp_core.errors import BrokenVideo

try:
    import fcntl
except ImportError:  # a Python that was built without it
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

IS_OFFERED = sys.platform == "linux" and fcntl is not None and hasattr(os, "memfd_create")
"""Whether this system has memory of the kind; frames come over the socket where it has not."""

MFD_NOEXEC_SEAL = 8  # Linux 6.3, linux/memfd.h
SMALLEST_BYTES = 1 << 20
MOST_UNUSED_BYTES = 64 << 20  # that one decode process's client keeps
SHARE_OF_DESCRIPTORS = 0.25
DESCRIPTORS_OF_A_SEGMENT = 2  # its own, and that of the mapping


class Segment:
    """One piece of shared memory of `num_bytes`, mapped here; freed with the last reference."""

    def __init__(self, num_bytes: int) -> None:
        self.num_bytes = num_bytes
        self.descriptor = _anonymous_file(num_bytes)
        # Shared, not private: a write by whoever reads the frames is overwritten by the next reply.
        self.mapping = mmap.mmap(self.descriptor, num_bytes)

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)


def _anonymous_file(num_bytes: int) -> int:
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, "memory without a name is Linux's")
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        descriptor = os.memfd_create("frames", flags | MFD_NOEXEC_SEAL)
    except OSError:  # an older kernel
        descriptor = os.memfd_create("frames", flags)
    try:
        os.ftruncate(descriptor, num_bytes)
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@dataclass(frozen=True)
class Lent:
    """Memory for the frames of one request: a segment's descriptor, and its bytes as an array.

    The segment is used again once nothing refers to `bytes_N` or to a view of it.
    """

    descriptor: int
    bytes_N: np.ndarray


class FrameMemory:
    """The segments of one decode process. One thread lends; frames may be dropped in any other.

    `num_clients` share the descriptors that this process may open.
    """

    def __init__(self, num_clients: int = 1) -> None:
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if descriptors == resource.RLIM_INFINITY:
            descriptors = 1 << 16
        share = SHARE_OF_DESCRIPTORS * descriptors / DESCRIPTORS_OF_A_SEGMENT / num_clients
        self.most_segments = max(1, int(share))
        self.num_segments = 0
        self._unused: list[Segment] = []
        self._returned: deque[Segment] = deque()  # appended to wherever an array dies

    def lend(self, num_bytes: int) -> Lent | None:
        """Memory of at least `num_bytes`; None where there is none to be had."""
        self._take_back()
        segment = self._fitting(num_bytes)
        if segment is None:
            return None
        bytes_N = np.frombuffer(segment.mapping, np.uint8, num_bytes)
        weakref.finalize(bytes_N, self._returned.append, segment).atexit = False
        return Lent(segment.descriptor, bytes_N)

    def _take_back(self) -> None:
        while self._returned:
            self._unused.append(self._returned.popleft())
        while sum(segment.num_bytes for segment in self._unused) > MOST_UNUSED_BYTES:
            del self._unused[0]
            self.num_segments -= 1

    def _fitting(self, num_bytes: int) -> Segment | None:
        size = _size_class(num_bytes)
        for place in reversed(range(len(self._unused))):
            if self._unused[place].num_bytes == size:
                return self._unused.pop(place)
        if self.num_segments >= self.most_segments and self._unused:
            del self._unused[0]
            self.num_segments -= 1
        if self.num_segments >= self.most_segments:
            return None
        try:
            segment = Segment(size)
        except OSError as error:
            log.info("no shared memory for frames, they come over a socket: %s", error)
            self.most_segments = 0
            return None
        self.num_segments += 1
        return segment


@dataclass(frozen=True)
class Place:
    """Where the frames of one request belong: `count` rows of `lent` from `first_row` on.

    With `backwards` the last frame comes first.
    """

    count: int = 0
    lent: Lent | None = None
    first_row: int = 0
    backwards: bool = False

    @property
    def rows(self) -> slice:
        """The rows of all that was asked for."""
        return slice(self.first_row, self.first_row + self.count)

    @property
    def words(self) -> dict[str, Any]:
        """What the decode process is told (`readers.reply_memory.ReplyMemory`)."""
        return {"first_row": self.first_row, "backwards": self.backwards}

    def frames(self, path: str, shape: tuple[int, ...]) -> np.ndarray:
        """The frames that the decode process has put here. Raises `BrokenVideo` if it lies."""
        num_bytes = math.prod(shape)
        start = self.first_row * (num_bytes // self.count)
        if self.lent is None or start + num_bytes > len(self.lent.bytes_N):
            raise BrokenVideo(path, "crashed", "the decoder names memory that it was not lent")
        return self.lent.bytes_N[start : start + num_bytes].reshape(shape)


NOWHERE = Place()


class GatheredFrames:
    """The frames of a read, `count` in all, which come in parts and mostly lie in place already."""

    def __init__(self, count: int, lent: Lent | None, *, backwards: bool = False) -> None:
        self._count = count
        self._lent = lent
        self._backwards = backwards
        self._frames: np.ndarray | None = None
        self._is_in_place = False

    @property
    def frames(self) -> np.ndarray:
        """All of them, in the order that was asked for."""
        assert self._frames is not None
        return self._frames

    def place(self, begin: int, count: int) -> Place:
        """Of the `count` frames that are decoded after the first `begin`."""
        first_row = self._count - begin - count if self._backwards else begin
        return Place(count, self._lent, first_row, self._backwards)

    def add(self, place: Place, frames: np.ndarray, *, in_memory: bool) -> None:
        """Take the frames of one part, which lie in `place` if they are `in_memory`."""
        if self._backwards and not in_memory:
            frames = frames[::-1]
        if self._frames is None:
            shape = (self._count, *frames.shape[1:])
            self._is_in_place = in_memory
            if in_memory:
                self._frames = Place(self._count, self._lent).frames("", shape)
            elif place.count == self._count:
                self._frames = np.ascontiguousarray(frames)
                return
            else:
                self._frames = np.empty(shape, np.uint8)
        if not (in_memory and self._is_in_place):
            self._frames[place.rows] = frames


def _size_class(num_bytes: int) -> int:
    """The power of two that holds `num_bytes`: spans of all rates share a few sizes of segments,
    and pages that nobody writes do not exist."""
    return max(SMALLEST_BYTES, 1 << (num_bytes - 1).bit_length())
