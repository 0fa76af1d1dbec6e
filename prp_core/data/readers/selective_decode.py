"""Selective decoding: chosen frames from the packets that they need, and nothing else.

Any deviation from what the packets announced is raised to the caller.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import av

from prp_core.data.readers.header import open_container, video_stream
from prp_core.data.readers.packet_index import PacketIndex, index_packets


class UnexpectedFrame(Exception):
    """The decoder returned other frames than the packets' headers announce.

    Only a decode from the beginning is then sure to be right.
    """


class SelectiveDecode:
    """One open file with its packets in memory. Raises `BrokenVideo` when it does not open."""

    def __init__(self, path: str) -> None:
        self._container = open_container(path)
        stream = video_stream(self._container, path)
        self._context: Any = stream.codec_context
        self._context.thread_type = "NONE"
        self._context.thread_count = 1
        self.codec = str(self._context.name)
        self._size = (stream.codec_context.width, stream.codec_context.height)
        try:
            self.index: PacketIndex | None = index_packets(self._container, stream, path)
        except (av.FFmpegError, ValueError, IndexError):
            self.index = None

    def frames(self, indices: Sequence[int], num_frames: int = 0) -> Iterator[Any]:
        """The decoder's frames at `indices` (ascending). Raises `UnexpectedFrame`.

        `num_frames` is the file's verified count, 0 if not known.
        """
        index = self.index
        if (
            index is None
            or indices[-1] >= index.num_frames
            or num_frames not in (0, index.num_frames)
        ):
            raise UnexpectedFrame
        place_of_next = iter([index.place_of(number) for number in indices])
        wanted = next(place_of_next, None)
        for run in index.runs(indices):
            for expected, frame in self._run(index, run):
                if (
                    frame.pts != expected
                    or frame.is_corrupt
                    or (frame.interlaced_frame and not self.takes_interlaced)
                    or (frame.width, frame.height) != self._size
                ):
                    raise UnexpectedFrame
                if expected == wanted:
                    wanted = next(place_of_next, None)
                    yield frame
        if wanted is not None:
            raise UnexpectedFrame

    @property
    def takes_interlaced(self) -> bool:
        """Whether frames that are marked as interlaced come as from the beginning."""
        return self.index is not None and self.index.layout.may_be_interlaced

    def farthest(self, num_frames: int) -> tuple[int, int] | None:
        """(the frame that needs most others, how many are decoded for it), without decoding any;
        None where the file is not read by chosen packets.
        """
        index = self.index
        return None if index is None or index.num_frames != num_frames else index.farthest()

    def _run(self, index: PacketIndex, run: list[int]) -> Iterator[tuple[int, Any]]:
        """(expected place, decoded frame) for each frame of one run."""
        expected = iter(index.shown_by(run))
        led = index.layout.led_by(run)
        try:
            for packet in (*(index.packets[place] for place in run), None):
                for frame in self._context.decode(packet):
                    if frame.pts in led:
                        continue
                    yield next(expected, -1), frame
        except (av.FFmpegError, ValueError):
            raise UnexpectedFrame from None
        finally:
            self._context.flush_buffers()
        if next(expected, None) is not None:
            raise UnexpectedFrame

    def close(self) -> None:
        """Close the file."""
        self._container.close()
