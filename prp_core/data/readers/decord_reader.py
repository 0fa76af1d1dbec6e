"""A reader over decord 0.6: fast, unmaintained, and correct only without its seeking."""

from __future__ import annotations

import re
from typing import Any

import decord
import numpy as np

from prp_core.data.readers.video_reader import ForwardReader
from prp_core.errors import BrokenVideo

# decord replaces lost frames by the last good one; above this share of the video it raises.
REPEATED_SHARE_ALLOWED = 1e-6


class DecordReader(ForwardReader):
    """See `VideoReader`. Every frame on the way is decoded and copied out.

    decord's own `skip_frames` is no use: it picks what to drop by timestamps while its decoder runs
    ahead in another thread, and now and then drops a wanted frame or returns its neighbour.
    `PyavReader` is the fast one.
    """

    def _open(self) -> None:
        decord.logging.set_level(decord.logging.QUIET)
        try:
            self._video: Any = decord.VideoReader(
                self.path, ctx=decord.cpu(0), num_threads=1, fault_tol=REPEATED_SHARE_ALLOWED
            )
            self.num_frames_declared = len(self._video)
        except (decord.DECORDError, RuntimeError) as error:
            raise BrokenVideo(self.path, "undecodable", _first_line(error)) from None

    def _next(self) -> np.ndarray | None:
        if self._position >= self.num_frames_declared:
            return None
        return self._ask(lambda: self._video.next().asnumpy())

    def _skip(self, num_frames: int) -> None:
        goal = self._position + num_frames
        if goal >= self.num_frames_declared:
            raise BrokenVideo(
                self.path,
                "truncated",
                f"frame {goal} was asked for, the file lists {self.num_frames_declared}",
            )
        for _ in range(num_frames):
            self._ask(self._video.next)

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
    """decord's message without time stamps, source files, paths and its C++ stack."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return re.sub(
        r"^\[[\d:]+\] \S+: |^(\[/[^\]]*\] )|Check failed: ",
        "",
        re.sub(r"^\[[\d:]+\] \S+: ", "", lines[0]),
    )[:200]
