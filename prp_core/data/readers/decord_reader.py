"""Frames by decord 0.6: fast, unmaintained, and only right when it is kept from seeking and from repeating frames."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import decord
import numpy as np

from prp_core.data.readers.video_reader import ForwardReader
from prp_core.errors import BrokenVideo

# decord puts the last good frame in the place of lost ones, any number of them; above this share of the video it raises.
REPEATED_SHARE_ALLOWED = 1e-6


class DecordReader(ForwardReader):
    """See `VideoReader`. `skip_frames` seeks when it would cross a keyframe, so skips stop short of each and step over it.

    decord picks what to skip by timestamps. Where those are wrong (H.264 with B-frames in AVI) it drops a wanted frame, counts it
    as lost and raises; such a file is read again without skipping.
    """

    _may_skip = True

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """See `VideoReader.read`."""
        try:
            return super().read(indices)
        except BrokenVideo as error:
            if error.reason != "repeated-frames" or not self._may_skip:
                raise
        self._may_skip = False
        self._rewind()
        return super().read(indices)

    def _open(self) -> None:
        decord.logging.set_level(decord.logging.QUIET)
        try:
            self._video: Any = decord.VideoReader(self.path, ctx=decord.cpu(0), num_threads=1, fault_tol=REPEATED_SHARE_ALLOWED)
            self.num_frames_promised = len(self._video)
            self._keys = sorted(int(key) for key in self._video.get_key_indices())
        except (decord.DECORDError, RuntimeError) as error:
            raise BrokenVideo(self.path, "undecodable", _first_line(error)) from None

    def _next(self) -> np.ndarray | None:
        if self._position >= self.num_frames_promised:
            return None
        return self._ask(lambda: self._video.next().asnumpy())

    def _skip(self, num_frames: int) -> None:
        position, goal = self._position, self._position + num_frames
        if goal >= self.num_frames_promised:
            raise BrokenVideo(self.path, "truncated", f"frame {goal} was asked for, the file lists {self.num_frames_promised}")
        while position < goal:
            if not self._may_skip:
                self._ask(self._video.next)
                position += 1
                continue
            place = bisect_right(self._keys, position)
            key = self._keys[place] if place < len(self._keys) else goal + 1
            stop = goal if goal < key else key - 1
            if stop > position:
                self._ask(lambda num=stop - position: self._video.skip_frames(num))
            if goal >= key:
                self._ask(self._video.next)
                stop = key
            position = stop

    def _ask(self, step: Any) -> Any:
        try:
            return step()
        except decord.DECORDLimitReachedError as error:
            raise BrokenVideo(self.path, "repeated-frames", _first_line(error)) from None
        except (decord.DECORDError, StopIteration, RuntimeError) as error:
            raise BrokenVideo(self.path, "undecodable", _first_line(error)) from None

    def close(self) -> None:
        """See `VideoReader.close`."""
        self._video = None


def _first_line(error: BaseException) -> str:
    """decord's own words without time stamps, source files, paths and its stack of C++ frames."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return re.sub(r"^\[[\d:]+\] \S+: |^(\[/[^\]]*\] )|Check failed: ", "", re.sub(r"^\[[\d:]+\] \S+: ", "", lines[0]))[:200]
