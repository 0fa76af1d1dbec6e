"""The H.264 GOPs of compact shards: encoded when videos are prepared, decoded in training.

Each GOP stands alone (it begins with its parameter sets and a keyframe, and holds no B-frames), so
a frame costs at most its GOP. We wrote these bytes and their checksum was compared, so they are
decoded in the training process.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

# Without CABAC and the deblocking filter a frame decodes in about two thirds of the time and takes
# a tenth more bytes. Without a look-ahead x264's macroblock tree reads memory that it never wrote:
# the bytes would then depend on what lay there.
X264 = (
    "scenecut=0:bframes=0:open-gop=0:rc-lookahead=0:threads=1:repeat-headers=1:annexb=1:"
    "cabac=0:no-deblock=1:weightp=0:mbtree=0"
)


def encode_gops(frames_NHWC: np.ndarray, gop_length: int, crf: int) -> list[bytes]:
    """uint8 (N, H, W, 3) RGB as Annex B GOPs of `gop_length` frames, the last with the rest.

    The same frames give the same bytes. Odd sides are made even by repeating the last row or
    column.
    """
    height, width = frames_NHWC.shape[1:3]
    even_NHWC = np.pad(frames_NHWC, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return [
        _encode_gop(even_NHWC[first : first + gop_length], crf)
        for first in range(0, len(even_NHWC), gop_length)
    ]


def _encode_gop(frames_NHWC: np.ndarray, crf: int) -> bytes:
    encoder: Any = av.CodecContext.create("libx264", "w")
    encoder.height = frames_NHWC.shape[1]
    encoder.width = frames_NHWC.shape[2]
    encoder.pix_fmt = "yuv420p"
    encoder.time_base = Fraction(1, 25)
    encoder.thread_count = 1
    encoder.options = {
        "preset": "medium",
        "crf": str(crf),
        "x264-params": f"keyint=infinite:{X264}",
    }
    packets = []
    for number, frame_HWC in enumerate(frames_NHWC):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame_HWC), format="rgb24")
        frame.pts = number
        packets += encoder.encode(frame)
    return b"".join(bytes(packet) for packet in [*packets, *encoder.encode()])


class CompactDecoder:
    """A decoder of GOPs; one for each thread."""

    def __init__(self) -> None:
        self._decoder: Any = av.CodecContext.create("h264", "r")
        self._decoder.thread_type = "NONE"
        self._decoder.thread_count = 1
        self._reformatter: Any = VideoReformatter()

    def decode(self, gop: bytes | memoryview, wanted: Sequence[int], out_NHWC: np.ndarray) -> None:
        """Decode the frames at `wanted` (ascending, 0 is the GOP's first) into `out_NHWC`.

        The size of `out_NHWC` cuts off what padding added. Raises `ValueError` when the GOP does
        not hold them.
        """
        try:
            frames = self._frames(bytes(gop), wanted[-1] + 1)
        except av.FFmpegError as error:
            raise ValueError(str(error)) from error
        if len(frames) <= wanted[-1]:
            raise ValueError(f"a GOP of {len(frames)} frames, number {wanted[-1]} was asked for")
        height, width = out_NHWC.shape[1:3]
        for frame_HWC, number in zip(out_NHWC, wanted, strict=True):
            rgb_HWC = self._reformatter.reformat(frames[number], format="rgb24").to_ndarray()
            if rgb_HWC.shape[0] - height not in (0, 1) or rgb_HWC.shape[1] - width not in (0, 1):
                raise ValueError(
                    f"a frame of {rgb_HWC.shape[0]} x {rgb_HWC.shape[1]}, not {height} x {width}"
                )
            frame_HWC[:] = rgb_HWC[:height, :width]

    def _frames(self, gop: bytes, num_needed: int) -> list[Any]:
        """At least the first `num_needed` frames, if the GOP has them."""
        decoder = self._decoder
        frames = list[Any]()
        try:
            packets = [*decoder.parse(gop), *decoder.parse()]
            for packet in packets[:num_needed]:
                frames += decoder.decode(packet)
            if len(frames) < num_needed:
                frames += decoder.decode(None)
        finally:
            decoder.flush_buffers()
        return frames
