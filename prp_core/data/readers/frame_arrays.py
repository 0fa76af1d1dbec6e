"""Conversion of a decoder's frame to an array: RGB, or the planes that it was decoded to."""

from __future__ import annotations

from typing import Any

import numpy as np
from av import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

# FFmpeg's AVColorSpace numbers that swscale maps to one of our two matrices (0 is RGB; 2 is
# "unspecified", which it takes for BT.601).
MATRIX_OF_COLOURSPACE = {1: "bt709", 2: "bt601", 5: "bt601", 6: "bt601"}
# All that swscale converts from; earlier releases took the others for one of these.
CONVERTED_COLOURSPACES = (0, 1, 2, 4, 5, 6, 7, 9)
INSTEAD_OF_COLOURSPACE = {10: 9}  # BT.2020 with constant luminance
UNSPECIFIED = 2
FULL_RANGE = 2
# swscale repeats the chroma of these, where the height is even, whatever it is told.
REPEATED_CHROMA = ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p")


class RgbConverter:
    """Converts in the calling thread and keeps swscale's tables between frames.

    Making the tables, with a pool of threads, costs more than converting a small frame. The pixels
    are those of `ffmpeg -pix_fmt rgb24` (5.1): chroma that cannot just be repeated is interpolated
    bicubically, and wherever the frame says that its samples lie, they are taken for centred, as
    those of all other frames are. A matrix that swscale does not know (YCgCo, ICtCp, derived from
    the primaries) is taken for BT.601's.
    """

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._unlocated: Any = None

    def array(self, frame: Any, width: int, height: int) -> np.ndarray:
        """uint8 (`height`, `width`, 3), RGB: a view of the picture that FFmpeg converted to."""
        interpolation = None
        colourspace = int(frame.colorspace)
        if colourspace not in CONVERTED_COLOURSPACES:
            frame.colorspace = INSTEAD_OF_COLOURSPACE.get(colourspace, UNSPECIFIED)
        if (frame.width, frame.height) == (width, height) and _interpolates_chroma(frame):
            interpolation = Interpolation.BICUBIC
            frame = self._without_location(frame)
        picture = self._reformatter.reformat(
            frame,
            format="rgb24",
            width=width,
            height=height,
            interpolation=interpolation,
            threads=1,
        )
        return _rows(picture.planes[0], height)[:, : 3 * width].reshape(height, width, 3)

    def _without_location(self, frame: Any) -> Any:
        """A copy of `frame` that does not say where its chroma samples lie."""
        copy = self._unlocated
        size = (frame.width, frame.height, frame.format.name)
        if copy is None or (copy.width, copy.height, copy.format.name) != size:
            copy = self._unlocated = VideoFrame(*size)
        for source, target in zip(frame.planes, copy.planes, strict=True):
            num_bytes = min(source.line_size, target.line_size)
            _rows(target, target.height)[:, :num_bytes] = _rows(source, source.height)[
                :, :num_bytes
            ]
        copy.colorspace = frame.colorspace
        copy.color_range = frame.color_range
        return copy


def _interpolates_chroma(frame: Any) -> bool:
    """Whether swscale may interpolate the chroma of `frame` between its samples."""
    planes = frame.planes
    return (
        len(planes) >= 3
        and (planes[1].width, planes[1].height) != (frame.width, frame.height)
        and (frame.format.name not in REPEATED_CHROMA or frame.height % 2 == 1)
    )


def planes_kind(frame: Any) -> tuple[str, bool] | None:
    """(matrix, full range) of a frame whose planes `copy_planes` can take; None for any other."""
    if frame.format.name not in ("yuv420p", "yuvj420p") or frame.width % 2 or frame.height % 2:
        return None
    if frame.interlaced_frame:
        return None  # converted field by field
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
