"""A reader over PyAV that decodes only the packets needed, where that is provably the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import av
import numpy as np

from prp_core.data.readers.frame_arrays import RgbConverter, copy_planes, planes_kind
from prp_core.data.readers.keyframe_starts import STARTS
from prp_core.data.readers.orientation import UPRIGHT, Orientation, orientation_of
from prp_core.data.readers.segment_decode import SegmentDecode
from prp_core.data.readers.selective_decode import SelectiveDecode, UnexpectedFrame
from prp_core.data.readers.sequential_reader import SequentialReader
from prp_core.data.readers.video_reader import (
    UNLIMITED_PIXELS,
    Allocate,
    YuvPlanes,
    ignore,
    new_frames,
)

Answer = TypeVar("Answer")


class PyavReader:
    """See `VideoReader`. A file that leaves a doubt, or surprises once, is read from its start."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.max_pixels = UNLIMITED_PIXELS
        self.on_decoded: Callable[[int], None] = ignore
        self._selective: SelectiveDecode | SegmentDecode | None = None
        self._sequential: SequentialReader | None = None
        self._converter = RgbConverter()

    @property
    def is_selective(self) -> bool:
        """Whether the last frames were decoded from chosen packets."""
        return self._selective is not None

    @property
    def num_frames_declared(self) -> int:
        """See `VideoReader.num_frames_declared`."""
        return self._from_the_beginning().num_frames_declared

    @property
    def num_packets_refused(self) -> int:
        """See `VideoReader.num_packets_refused`."""
        return 0 if self._sequential is None else self._sequential.num_packets_refused

    @property
    def frames_per_second(self) -> float:
        """See `VideoReader.frames_per_second`."""
        return 0.0 if self._sequential is None else self._sequential.pace.frames_per_second

    def num_frames_to_read_one(self, num_frames: int) -> int:
        """See `VideoReader.num_frames_to_read_one`.

        What the packets prove is tried on the farthest frame and the last.
        """
        read = self._sequential
        if read is not None and (read.is_irregular or read.num_packets_refused):
            return num_frames
        chosen = self._open_chosen()
        try:
            found = chosen.farthest(num_frames)
            is_odd = read is not None and read.has_interlaced and not chosen.takes_interlaced
            if found is None or is_odd:
                return num_frames
            for index in {found[0], num_frames - 1}:
                next(chosen.frames([index], num_frames))
        except UnexpectedFrame:
            return num_frames
        finally:
            chosen.close()
        return found[1]

    def frames(self) -> Iterator[np.ndarray]:
        """See `VideoReader.frames`."""
        return self._from_the_beginning().frames()

    def read(
        self, indices: Sequence[int], num_frames: int = 0, allocate: Allocate = new_frames
    ) -> np.ndarray:
        """See `VideoReader.read`."""
        assert len(indices) > 0 and list(indices) == sorted(set(indices)) and indices[0] >= 0, (
            indices
        )
        frames_NHWC = self._try(
            lambda frames: self._stack_rgb(frames, len(indices), allocate), indices, num_frames
        )
        if frames_NHWC is None:
            return self._from_the_beginning().read(indices, allocate=allocate)
        return frames_NHWC

    def read_planes(
        self, indices: Sequence[int], num_frames: int = 0, allocate: Allocate = new_frames
    ) -> YuvPlanes | None:
        """See `VideoReader.read_planes`; files that are read from their beginning have none."""
        return self._try(
            lambda frames: _stack_planes(frames, len(indices), allocate), indices, num_frames
        )

    def _try(
        self, stack: Callable[[Iterator[Any]], Answer], indices: Sequence[int], num_frames: int
    ) -> Answer | None:
        """What `stack` makes of the chosen frames; None, from then on, if they need all others."""
        if self._sequential is not None:
            return None
        self._selective = self._selective or self._open_chosen()
        try:
            return stack(self._selective.frames(indices, num_frames))
        except MemoryError:
            raise
        except (UnexpectedFrame, av.FFmpegError):
            self._from_the_beginning()
            return None

    def _open_chosen(self) -> SelectiveDecode | SegmentDecode:
        selective = SelectiveDecode(self.path)
        if selective.codec not in STARTS:
            return selective
        selective.close()
        return SegmentDecode(self.path)

    def _stack_rgb(self, frames: Iterator[Any], count: int, allocate: Allocate) -> np.ndarray:
        frames_NHWC = None
        first: tuple[Orientation, int, int] | None = None
        for place, frame in enumerate(frames):
            seen = (orientation_of(frame), frame.width, frame.height)
            first = first or seen
            if seen != first:
                raise UnexpectedFrame
            frame_HWC = seen[0].shown(self._converter.array(frame, frame.width, frame.height))
            if frames_NHWC is None:
                frames_NHWC = allocate((count, *frame_HWC.shape))
            frames_NHWC[place] = frame_HWC
        assert frames_NHWC is not None
        return frames_NHWC

    def _from_the_beginning(self) -> SequentialReader:
        if self._selective is not None:
            self._selective.close()
            self._selective = None
        self._sequential = self._sequential or SequentialReader(self.path)
        self._sequential.max_pixels = self.max_pixels
        self._sequential.on_decoded = self.on_decoded
        return self._sequential

    def close(self) -> None:
        """See `VideoReader.close`."""
        for part in (self._selective, self._sequential):
            if part is not None:
                part.close()
        self._selective = self._sequential = None


def _stack_planes(frames: Iterator[Any], count: int, allocate: Allocate) -> YuvPlanes | None:
    planes_NHW = None
    kind = None
    for place, frame in enumerate(frames):
        if planes_NHW is None:
            kind = planes_kind(frame)
            if kind is None or orientation_of(frame) != UPRIGHT:
                return None
            planes_NHW = allocate((count, frame.height * 3 // 2, frame.width))
        elif (
            (frame.height * 3 // 2, frame.width) != planes_NHW.shape[1:]
            or planes_kind(frame) != kind
            or orientation_of(frame) != UPRIGHT
        ):
            raise UnexpectedFrame
        copy_planes(frame, planes_NHW[place])
    assert planes_NHW is not None and kind is not None
    return YuvPlanes(planes_NHW, *kind)
