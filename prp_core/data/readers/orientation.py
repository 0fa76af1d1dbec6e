"""The display matrix of a frame: which of the eight orientations a player shows it in.

Phones write it instead of turning the picture; front cameras mirror. ISO/IEC 14496-12, 8.3.2; a
matrix that is none of the eight is taken for the nearest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from av.sidedata.sidedata import SideDataContainer, Type

# Places of the matrix's nine numbers: x' = a x + c y, y' = b x + d y.
A, B, C, D = 0, 1, 3, 4


@dataclass(frozen=True)
class Orientation:
    """Rows and columns change places first, then rows and columns are reversed."""

    is_transposed: bool = False
    reverses_rows: bool = False
    reverses_columns: bool = False

    @property
    def is_mirrored(self) -> bool:
        """Whether it is none of the four rotations."""
        return self.is_transposed ^ self.reverses_rows ^ self.reverses_columns

    def shown(self, frame_HWC: np.ndarray) -> np.ndarray:
        """The frame as it is shown; (W, H, C) where it is transposed."""
        if self.is_transposed:
            frame_HWC = frame_HWC.transpose(1, 0, 2)
        rows = slice(None, None, -1 if self.reverses_rows else 1)
        columns = slice(None, None, -1 if self.reverses_columns else 1)
        return frame_HWC[rows, columns]


UPRIGHT = Orientation()

# FFmpeg knows more kinds of side data than PyAV names, such as the EXIF data of Motion JPEG: one of
# these would be an error in place of all others.
Type._missing_ = classmethod(lambda kinds, value: kinds.VIDEO_HINT)  # type: ignore[assignment]


def orientation_of(frame: Any) -> Orientation:
    """The orientation that the decoded `frame` carries."""
    # Not `frame.side_data`, which holds the frame that holds it: freed by the collector alone.
    matrix = SideDataContainer(frame).get(Type.DISPLAYMATRIX)  # type: ignore[call-arg]
    if matrix is None:
        return UPRIGHT
    numbers = np.frombuffer(bytes(matrix), np.int32).astype(int)
    is_transposed = abs(numbers[B]) + abs(numbers[C]) > abs(numbers[A]) + abs(numbers[D])
    across, down = (C, B) if is_transposed else (A, D)
    return Orientation(bool(is_transposed), bool(numbers[down] < 0), bool(numbers[across] < 0))
