"""Conversion of a decoder's frame to an array: RGB, or the planes that it was decoded to."""

from __future__ import annotations

from typing import Any

import numpy as np
from av.video.reformatter import VideoReformatter

# FFmpeg's AVColorSpace numbers that swscale maps to one of our two matrices (0 is RGB; 2 is
# "unspecified", which it takes for BT.601).
MATRIX_OF_COLOURSPACE = {1: "bt709", 2: "bt601", 5: "bt601", 6: "bt601"}
FULL_RANGE = 2


class RgbConverter:
    """Converts in the calling thread and keeps swscale's tables between frames.

    Making the tables, with a pool of threads, costs more than converting a small frame.
    """

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def array(self, frame: Any, width: int, height: int) -> np.ndarray:
        """uint8 (`height`, `width`, 3), RGB: a view of the picture that FFmpeg converted to."""
        picture = self._reformatter.reformat(
            frame, format="rgb24", width=width, height=height, threads=1
        )
        return _rows(picture.planes[0], height)[:, : 3 * width].reshape(height, width, 3)


def planes_kind(frame: Any) -> tuple[str, bool] | None:
    """(matrix, full range) of a frame whose planes `copy_planes` can take; None for any other."""
    if frame.format.name not in ("yuv420p", "yuvj420p") or frame.width % 2 or frame.height % 2:
        return None
    matrix = MATRIX_OF_COLOURSPACE.get(int(frame.colorspace))
    if matrix is None:
        return None
    return matrix, frame.format.name == "yuvj420p" or int(frame.color_range) == FULL_RANGE


def copy_planes(frame: Any, target_HW: np.ndarray) -> None:
    """Fill `target_HW`, uint8 (H * 3 / 2, W): see `YuvPlanes`."""
    width = frame.width
    height = frame.height
    luma, *chroma = frame.planes
    target_HW[:height] = _rows(luma, height)[:, :width]
    flat = target_HW[height:].reshape(2, height // 2, width // 2)
    for target, plane in zip(flat, chroma, strict=True):
        target[:] = _rows(plane, height // 2)[:, : width // 2]


def _rows(plane: Any, num_rows: int) -> np.ndarray:
    return np.frombuffer(plane, np.uint8, count=num_rows * plane.line_size).reshape(
        num_rows, plane.line_size
    )
