"""The protocol of a video reader, and a base class for forward-only readers.

Frame n is the n-th frame that decoding from the file's beginning yields. Readers never seek by
time, because that lands on wrong frames with B-frames in AVI and MPEG-4, with open GOPs and with
HEVC (decord 0.6 is off by up to 48 frames). Frames that are not wanted are not converted to RGB,
and not even decoded where the file's own headers prove that they need not be.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from prp_core.errors import BrokenVideo

UNLIMITED_PIXELS = 1 << 62

Allocate = Callable[[tuple[int, ...]], np.ndarray]
"""From a shape to the uint8 array of that shape that a reader fills and returns."""


def new_frames(shape: tuple[int, ...]) -> np.ndarray:
    """An array of its own, not initialised."""
    return np.empty(shape, np.uint8)


def ignore(num_pixels: int) -> None:
    """No progress is reported."""


@dataclass(frozen=True)
class VideoInfo:
    """A video's figures; `num_frames` is the container's claim (0: none) until it is counted."""

    num_frames: int
    fps: float
    width: int
    height: int
    codec: str
    num_frames_to_read_one: int = 0
    """Frames that reading one of them may decode, at most; 0 until that is known."""


@dataclass(frozen=True)
class YuvPlanes:
    """Frames as most codecs store them: 8-bit 4:2:0, not yet RGB.

    `planes_NHW` is uint8 (N, H * 3 / 2, W): H rows of luma, then the H/2 x W/2 values of U and
    those of V, each row by row. `matrix` is ``bt601`` or ``bt709``; with `full_range` black is 0
    and not 16.
    """

    planes_NHW: np.ndarray
    matrix: str
    full_range: bool


class VideoReader(Protocol):
    """One open video.

    Frames have one size. Every method may raise `BrokenVideo` with reason "undecodable",
    "too-large" or "repeated-frames".
    """

    max_pixels: int
    """Pixels of a frame above which reading it raises `BrokenVideo` "too-large"."""
    on_decoded: Callable[[int], None]
    """Is told the pixels of each frame that is decoded on the way from the beginning."""

    @property
    def num_frames_declared(self) -> int:
        """Frames that the container declares to be shown; 0 where it declares none."""
        ...

    @property
    def num_packets_refused(self) -> int:
        """Packets that gave no frame because they are empty or damaged, as far as was read."""
        ...

    @property
    def frames_per_second(self) -> float:
        """The mean rate at which the frames were shown that were read from the beginning, by their
        own times; 0 where these are not known.
        """
        ...

    def read(
        self, indices: Sequence[int], num_frames: int = 0, allocate: Allocate = new_frames
    ) -> np.ndarray:
        """The frames at `indices` (ascending, distinct): uint8 (N, H, W, 3), RGB, upright.

        `num_frames` is the count that `inspect` verified (0: not known); a reader that counts
        differently must not trust its own. The frames are written into what `allocate` returned
        last.
        """
        ...

    def read_planes(
        self, indices: Sequence[int], num_frames: int = 0, allocate: Allocate = new_frames
    ) -> YuvPlanes | None:
        """The same frames as planes; None where the file or the reader has no such planes."""
        ...

    def num_frames_to_read_one(self, num_frames: int) -> int:
        """How many of the file's `num_frames` frames reading any one of them may decode, at most.

        Fewer than all where the headers of the packets prove it and no frame that was read so far
        speaks against it.
        """
        ...

    def frames(self) -> Iterator[np.ndarray]:
        """Every frame from the first on, uint8 (H, W, 3); ends, or raises, where decoding ends."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class ForwardReader(ABC):
    """A reader that opens, steps and skips; to read backwards it opens the file again."""

    num_packets_refused = 0
    frames_per_second = 0.0
    max_pixels = UNLIMITED_PIXELS
    on_decoded: Callable[[int], None] = staticmethod(ignore)

    def __init__(self, path: str) -> None:
        self.path = path
        self._position = 0
        self._shape: tuple[int, ...] = ()
        self._open()

    @abstractmethod
    def _open(self) -> None:
        """Open the file before its first frame."""

    @abstractmethod
    def _next(self) -> np.ndarray | None:
        """The next frame; None after the last."""

    @abstractmethod
    def _skip(self, num_frames: int) -> None:
        """Decode and drop frames."""

    @abstractmethod
    def close(self) -> None:
        """See `VideoReader.close`."""

    def frames(self) -> Iterator[np.ndarray]:
        """See `VideoReader.frames`."""
        self._rewind()
        while (frame_HWC := self._step()) is not None:
            yield frame_HWC

    def num_frames_to_read_one(self, num_frames: int) -> int:
        """See `VideoReader.num_frames_to_read_one`: all."""
        return num_frames

    def read_planes(
        self, indices: Sequence[int], num_frames: int = 0, allocate: Allocate = new_frames
    ) -> YuvPlanes | None:
        """See `VideoReader.read_planes`; this reader has none."""
        return None

    def read(
        self, indices: Sequence[int], num_frames: int = 0, allocate: Allocate = new_frames
    ) -> np.ndarray:
        """See `VideoReader.read`."""
        assert len(indices) > 0 and list(indices) == sorted(set(indices)) and indices[0] >= 0, (
            indices
        )
        frames_NHWC: np.ndarray | None = None
        for place, index in enumerate(indices):
            frame_HWC = self._frame_at(index)
            if frames_NHWC is None:
                frames_NHWC = allocate((len(indices), *frame_HWC.shape))
            frames_NHWC[place] = frame_HWC
        assert frames_NHWC is not None
        return frames_NHWC

    def _frame_at(self, index: int) -> np.ndarray:
        if index < self._position:
            self._rewind()
        if index > self._position:
            self._skip(index - self._position)
            self._position = index
        frame_HWC = self._step()
        if frame_HWC is None:
            raise BrokenVideo(
                self.path, "truncated", f"frame {index} was asked for and decoding ends before it"
            )
        return frame_HWC

    def _step(self) -> np.ndarray | None:
        frame_HWC = self._next()
        self._position += 1
        if frame_HWC is not None and (frame_HWC.ndim != 3 or frame_HWC.shape[2] != 3):
            raise BrokenVideo(
                self.path,
                "undecodable",
                f"the decoder gave a frame of shape {frame_HWC.shape}, not (height, width, 3)",
            )
        if frame_HWC is not None:
            self._shape = self._shape or frame_HWC.shape
            if frame_HWC.shape != self._shape:
                raise BrokenVideo(
                    self.path,
                    "undecodable",
                    f"frame {self._position - 1} is {frame_HWC.shape[1]} x {frame_HWC.shape[0]}, "
                    f"those before are {self._shape[1]} x {self._shape[0]}",
                )
        return frame_HWC

    def _rewind(self) -> None:
        if self._position:
            self.close()
            self._open()
            self._position = 0
