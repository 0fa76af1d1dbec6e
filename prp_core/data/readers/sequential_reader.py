"""A reader over PyAV that decodes from the beginning: the reference for the selective one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av
import numpy as np

from prp_core.data.readers.frame_arrays import RgbConverter
from prp_core.data.readers.header import num_frames_shown, open_container, video_stream
from prp_core.data.readers.orientation import Orientation, orientation_of
from prp_core.data.readers.video_reader import ForwardReader
from prp_core.errors import BrokenVideo


class SequentialReader(ForwardReader):
    """See `VideoReader`. Single-threaded; skipped frames are not converted to RGB.

    A packet that is empty or that the decoder refuses is left out and counted, whatever the
    container: the frames after it are read as `ffmpeg` reads them. `is_irregular` says whether a
    frame so far was damaged, or unlike the first in size or orientation, `has_interlaced` whether
    one was interlaced.
    """

    def _open(self) -> None:
        self._container = open_container(self.path)
        stream = video_stream(self._container, self.path)
        stream.thread_type = "NONE"
        stream.codec_context.thread_count = 1
        self.num_frames_declared = num_frames_shown(self._container, stream)
        self.num_packets_refused = 0
        self.is_irregular = False
        self.has_interlaced = False
        self._size = (0, 0)
        self._orientation: Orientation | None = None
        self._converter = RgbConverter()
        self._decoded: Iterator[Any] = self._decode_packets(stream)

    def _next(self) -> np.ndarray | None:
        frame = self._decode()
        if frame is None:
            return None
        try:
            frame_HWC = self._converter.array(frame, *self._size)
        except MemoryError:
            raise
        except (av.FFmpegError, ValueError) as error:
            words = f"a picture of the kind {frame.format.name} gives no RGB: {error}"
            raise BrokenVideo(self.path, "undecodable", words[:200]) from None
        return orientation_of(frame).shown(frame_HWC)

    def _skip(self, num_frames: int) -> None:
        for _ in range(num_frames):
            if self._decode() is None:
                return

    def _decode(self) -> Any:
        try:
            frame = next(self._decoded, None)
        except MemoryError:
            raise  # a limit of this process, no fault of the file's
        except (av.FFmpegError, ValueError) as error:
            raise BrokenVideo(self.path, "undecodable", str(error)[:200]) from None
        if frame is not None and frame.width * frame.height > self.max_pixels:
            words = f"a frame of {frame.width} x {frame.height} pixels"
            raise BrokenVideo(
                self.path, "too-large", f"{words}, the limit is {self.max_pixels} in all"
            )
        if frame is not None and self._size == (0, 0):
            # A later change of size is scaled back to the first frame's, as decord does.
            self._size = (frame.width, frame.height)
        if frame is not None:
            self._look_at(frame)
            self.on_decoded(frame.width * frame.height)
        return frame

    def _look_at(self, frame: Any) -> None:
        """Note what no reader of chosen packets accepts: see `SelectiveDecode.frames`."""
        self.has_interlaced |= frame.interlaced_frame
        orientation = orientation_of(frame)
        self._orientation = self._orientation or orientation
        self.is_irregular |= (
            frame.is_corrupt
            or (frame.width, frame.height) != self._size
            or orientation != self._orientation
        )

    def _decode_packets(self, stream: Any) -> Iterator[Any]:
        """Every frame; an empty packet within the stream must not end it, as it would if sent.

        What was read before the container breaks is decoded to its end first.
        """
        waiting = None
        failure = None
        packets = self._container.demux(stream)
        while failure is None:
            try:
                packet = next(packets, None)
            except (av.FFmpegError, ValueError) as error:
                packet = None
                failure = error
            if packet is None:
                break
            if waiting is not None:
                yield from self._frames_of(waiting)
            waiting = packet
        if failure is None:
            if waiting is not None:
                yield from (waiting.decode() if waiting.size == 0 else self._frames_of(waiting))
            return
        if waiting is not None:
            yield from self._frames_of(waiting)
        yield from stream.codec_context.decode(None)
        raise failure

    def _frames_of(self, packet: Any) -> list[Any]:
        if packet.size == 0:
            self.num_packets_refused += 1
            return []
        try:
            frames: list[Any] = packet.decode()
        except MemoryError:
            raise
        except (av.FFmpegError, ValueError):
            self.num_packets_refused += 1
            return []
        return frames

    def close(self) -> None:
        """See `VideoReader.close`."""
        self._container.close()
