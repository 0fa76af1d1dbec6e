"""A reader over PyAV that decodes from the beginning: the reference for the selective one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av
import numpy as np

from prp_core.data.readers.frame_arrays import RgbConverter
from prp_core.data.readers.header import open_container, video_stream
from prp_core.data.readers.video_reader import ForwardReader
from prp_core.errors import BrokenVideo


class SequentialReader(ForwardReader):
    """See `VideoReader`. Single-threaded; skipped frames are not converted to RGB."""

    def _open(self) -> None:
        self._container = open_container(self.path)
        stream = video_stream(self._container, self.path)
        stream.thread_type = "NONE"
        stream.codec_context.thread_count = 1
        self.num_frames_declared = int(stream.frames)
        self._size: tuple[int, int] | None = None
        self._converter = RgbConverter()
        self._decoded: Iterator[Any] = self._container.decode(stream)

    def _next(self) -> np.ndarray | None:
        frame = self._decode()
        if frame is None:
            return None
        # A later change of size is scaled back to the first, as decord does.
        self._size = self._size or (frame.width, frame.height)
        frame_HWC = self._converter.array(frame, *self._size)
        return np.rot90(frame_HWC, k=int(frame.rotation) // 90 % 4) if frame.rotation else frame_HWC

    def _skip(self, num_frames: int) -> None:
        for _ in range(num_frames):
            if self._decode() is None:
                return

    def _decode(self) -> Any:
        try:
            return next(self._decoded, None)
        except (av.FFmpegError, ValueError) as error:
            raise BrokenVideo(self.path, "undecodable", str(error)[:200]) from None

    def close(self) -> None:
        """See `VideoReader.close`."""
        self._container.close()
