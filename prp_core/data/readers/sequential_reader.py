"""A reader over PyAV that decodes from the beginning: the reference for the selective one."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np

from prp_core.data.readers.frame_arrays import RgbConverter
from prp_core.data.readers.header import (
    jumps_of_edit_list,
    num_frames_shown,
    open_container,
    video_stream,
)
from prp_core.data.readers.orientation import Orientation, orientation_of
from prp_core.data.readers.video_reader import ForwardReader
from prp_core.errors import BrokenVideo

MIXED_UP_SECONDS = 2
# What begins a picture, of codecs whose decoders pass over a packet without one in silence.
PICTURE_STARTS = {
    "mpeg1video": b"\0\0\1\0",
    "mpeg2video": b"\0\0\1\0",
    "mpeg4": b"\0\0\1\xb6",
}
PLACEHOLDER_BYTES = 8  # DivX's and XviD's packet for a picture that came with the one before


class Pace:
    """How many frames a second are shown, by the times at which they are.

    In an AVI the times of B-frames are mixed up; in a transport stream they may begin anew.
    """

    def __init__(self) -> None:
        self._num_frames = 0
        self._first: Fraction | None = None
        self._last = Fraction(0)
        self._begins_anew = False

    def add(self, frame: Any) -> None:
        """One more frame."""
        self._num_frames += 1
        if frame.pts is None or frame.time_base is None:
            return
        seconds = frame.pts * frame.time_base
        if self._first is None:
            self._first = self._last = seconds
        self._begins_anew |= seconds < self._last - MIXED_UP_SECONDS
        self._first = min(self._first, seconds)
        self._last = max(self._last, seconds)

    @property
    def frames_per_second(self) -> float:
        """The mean so far; 0 where it is not known."""
        if self._first in (None, self._last) or self._begins_anew:
            return 0.0
        assert self._first is not None
        return float((self._num_frames - 1) / (self._last - self._first))


class SequentialReader(ForwardReader):
    """See `VideoReader`. Single-threaded; skipped frames are not converted to RGB.

    A packet that is empty or that the decoder refuses is left out and counted, whatever the
    container: the frames after it are read as `ffmpeg` reads them. `is_irregular` says whether a
    frame so far was damaged, or unlike the first in size or orientation, `has_interlaced` whether
    one was interlaced, and `pace` when the frames were shown.
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
        self.pace = Pace()
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
        self.pace.add(frame)
        orientation = orientation_of(frame)
        self._orientation = self._orientation or orientation
        self.is_irregular |= (
            frame.is_corrupt
            or (frame.width, frame.height) != self._size
            or orientation != self._orientation
        )

    def _decode_packets(self, stream: Any) -> Iterator[Any]:
        """Every frame; an empty packet within the stream must not end it, as it would if sent.

        What was read before the container breaks is decoded to its end first, and so is each part
        of an edit list.
        """
        waiting = None
        failure = None
        jumps = jumps_of_edit_list(self._container, stream)
        packets = enumerate(self._container.demux(stream))
        while failure is None:
            try:
                number, packet = next(packets, (0, None))
            except (av.FFmpegError, ValueError) as error:
                packet = None
                failure = error
            if packet is None:
                break
            if waiting is not None:
                yield from self._frames_of(waiting)
            waiting = packet
            if number in jumps and packet.pos == jumps[number]:
                yield from self._drained(stream.codec_context)
        if failure is None:
            if waiting is not None:
                yield from (waiting.decode() if waiting.size == 0 else self._frames_of(waiting))
            return
        if waiting is not None:
            yield from self._frames_of(waiting)
        yield from stream.codec_context.decode(None)
        raise failure

    def _drained(self, context: Any) -> list[Any]:
        """What the decoder holds back; it begins anew behind that."""
        try:
            frames: list[Any] = context.decode(None)
        except MemoryError:
            raise
        except (av.FFmpegError, ValueError):
            self.num_packets_refused += 1
            frames = []
        context.flush_buffers()
        return frames

    def _frames_of(self, packet: Any) -> list[Any]:
        if packet.size == 0:
            self.num_packets_refused += 1
            return []
        start = PICTURE_STARTS.get(packet.stream.codec_context.name, b"")
        is_damaged = packet.size > PLACEHOLDER_BYTES and start not in bytes(packet)
        try:
            frames: list[Any] = packet.decode()
        except MemoryError:
            raise
        except (av.FFmpegError, ValueError):
            is_damaged = True
            frames = []
        self.num_packets_refused += is_damaged
        if packet.is_discard:  # decoded all the same, and what it shows is hidden
            context = packet.stream.codec_context
            self.on_decoded(context.width * context.height)
        return frames

    def close(self) -> None:
        """See `VideoReader.close`."""
        self._container.close()
