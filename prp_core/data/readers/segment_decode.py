"""Decoding from safe keyframes: chosen frames without all frames before them.

Within a segment every frame is decoded; any deviation from what the packets announced is raised to
the caller.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import av

from prp_core.data.readers.header import jumps_of_edit_list, open_container, video_stream
from prp_core.data.readers.keyframe_starts import STARTS, Start
from prp_core.data.readers.packet_index import MAX_FILE_BYTES
from prp_core.data.readers.selective_decode import UnexpectedFrame

# Each picture of these says by itself whether it is interlaced.
MARKED_BY_PICTURE = ("mpeg1video", "mpeg2video")


class SegmentDecode:
    """One open file with its packets in memory. Raises `BrokenVideo` when it does not open."""

    def __init__(self, path: str) -> None:
        self._container = open_container(path)
        stream = video_stream(self._container, path)
        self._context: Any = stream.codec_context
        self._context.thread_type = "NONE"
        self._context.thread_count = 1
        # What is missing of a damaged picture is whatever lay in memory: such a file is left to a
        # decode from the beginning.
        self._context.options = {"err_detect": "crccheck+bitstream+buffer+explode"}
        self._size = (self._context.width, self._context.height)
        self._packets: list[Any] = []
        self._jumps: dict[int, int] = {}
        self._num_visible = 0
        try:
            self.starts = self._find_starts(stream, path)
        except (av.FFmpegError, ValueError, IndexError):
            self.starts = []
        self._first_frames = self._visible_before(self.starts)

    def _find_starts(self, stream: Any, path: str) -> list[Start]:
        find = STARTS.get(self._context.name)
        if find is None or Path(path).stat().st_size > MAX_FILE_BYTES:
            return []
        self._jumps = jumps_of_edit_list(self._container, stream)
        *packets, end = self._container.demux(stream)
        if end.size or any(one.size == 0 or one.is_corrupt for one in packets):
            return []
        found = find(self._context.extradata or b"", [bytes(packet) for packet in packets])
        for place, packet in enumerate(packets):  # the decoder hands the number on to the frame
            packet.pts = packet.dts = place
        self._packets = packets
        return found if found and found[0].place == 0 and found[0].frame == 0 else []

    def _visible_before(self, starts: Sequence[Start]) -> list[int]:
        """How many frames are shown before each start's: of all that `Start.frame` counts, those
        that no edit list hides (they are decoded all the same).
        """
        hidden = frozenset[int]().union(*(start.hidden for start in starts))
        visible = [
            not packet.is_discard and place not in hidden
            for place, packet in enumerate(self._packets)
        ]
        before = [0, *accumulate(map(int, visible))]
        self._num_visible = before[-1]
        return [before[one.place] + sum(visible[at] for at in one.leading) for one in starts]

    @property
    def takes_interlaced(self) -> bool:
        """See `SelectiveDecode.takes_interlaced`."""
        return self._context.name in MARKED_BY_PICTURE

    def farthest(self, num_frames: int) -> tuple[int, int] | None:
        """See `SelectiveDecode.farthest`."""
        if not self.starts or num_frames != self._num_visible:
            return None
        ends = [
            *(start.place + len(start.leading) for start in self.starts[1:]),
            len(self._packets),
        ]
        counts = [end - start.place for start, end in zip(self.starts, ends, strict=True)]
        most = max(range(len(counts)), key=counts.__getitem__)
        later = [first for first in self._first_frames if first > self._first_frames[most]]
        return min(later, default=num_frames) - 1, counts[most]

    def frames(self, indices: Sequence[int], num_frames: int = 0) -> Iterator[Any]:
        """The decoder's frames at `indices` (ascending). Raises `UnexpectedFrame`.

        `num_frames` is the file's verified count: only one frame for each packet proves that a
        start's number is right.
        """
        if not self.starts or num_frames != self._num_visible or indices[-1] >= num_frames:
            raise UnexpectedFrame
        waiting = list(indices)
        while waiting:
            at = bisect_right(self._first_frames, waiting[0]) - 1
            for number, frame in self._decode_from(self.starts[at], self._first_frames[at]):
                if (
                    frame.is_corrupt
                    or (frame.interlaced_frame and not self.takes_interlaced)
                    or (frame.width, frame.height) != self._size
                ):
                    raise UnexpectedFrame
                if number != waiting[0]:
                    continue
                yield frame
                del waiting[0]
                if not waiting or self._is_nearer(waiting[0], at, number):
                    break
            else:
                raise UnexpectedFrame

    def _is_nearer(self, index: int, at: int, number: int) -> bool:
        """Whether another start than `at` lies between frame `number` and the frame `index`."""
        other = self._first_frames[bisect_right(self._first_frames, index) - 1]
        return other > max(self._first_frames[at], number)

    def _decode_from(self, start: Start, number: int) -> Iterator[tuple[int, Any]]:
        """(number, frame) of each frame from the start's on, whose number is `number`."""
        try:
            for place in range(start.place, len(self._packets) + 1):
                if place in start.leading:
                    continue
                for frame in self._decoded(place, place != start.place):
                    if frame.pts is None or frame.pts < start.place:
                        raise UnexpectedFrame
                    yield number, frame
                    number += 1
        except (av.FFmpegError, ValueError):
            raise UnexpectedFrame from None
        finally:
            self._context.flush_buffers()

    def _decoded(self, place: int, is_under_way: bool) -> Iterator[Any]:
        """The frames that the decoder gives for packet `place`, its last ones past the end."""
        if is_under_way and place in self._jumps:
            yield from self._context.decode(None)
            self._context.flush_buffers()
        yield from self._context.decode(
            self._packets[place] if place < len(self._packets) else None
        )

    def close(self) -> None:
        """Close the file."""
        self._container.close()
