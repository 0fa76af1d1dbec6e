"""A reader over decord 0.6: fast, unmaintained, and correct only without its seeking."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import decord
import numpy as np

from prp_core.data.readers.video_reader import ForwardReader
from prp_core.errors import BrokenVideo

# decord replaces lost frames by the last good one; above this share of the video it raises.
REPEATED_SHARE_ALLOWED = 1e-6
# decord cannot be told the format of a file. Its FFmpeg guesses from this many bytes, and takes a
# text with one of these words in it for a list of streams elsewhere, whatever stands before.
GUESSED_BYTES = 1 << 20
WORDS_OF_LISTS = (b"c=in ip", b"<mpd", b"<smoothstreamingmedia", b"#extm3u", b"ffconcat")


class DecordReader(ForwardReader):
    """See `VideoReader`. Every frame on the way is decoded and copied out.

    decord's own `skip_frames` is no use: it picks what to drop by timestamps while its decoder runs
    ahead in another thread, and now and then drops a wanted frame or returns its neighbour.
    `PyavReader` is the fast one.
    """

    def _open(self) -> None:
        _refuse_lists(self.path)
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
        frame_HWC: np.ndarray | None = self._ask(lambda: self._video.next().asnumpy())
        if frame_HWC is not None:
            self.on_decoded(frame_HWC.size // 3)
        return frame_HWC

    def _skip(self, num_frames: int) -> None:
        goal = self._position + num_frames
        if goal >= self.num_frames_declared:
            raise BrokenVideo(
                self.path,
                "truncated",
                f"frame {goal} was asked for, the file lists {self.num_frames_declared}",
            )
        for _ in range(num_frames):
            self.on_decoded(math.prod(self._ask(self._video.next).shape[:2]))

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


def _refuse_lists(path: str) -> None:
    with Path(path).open("rb") as file:
        head = file.read(GUESSED_BYTES).lower()
    word = next((word for word in WORDS_OF_LISTS if word in head), None)
    if word is not None:
        raise BrokenVideo(
            path,
            "not-a-video",
            f"{word!r} stands in it, and decord might take it for a list of other files; "
            "loader.reader = 'pyav' does not",
        )


def _first_line(error: BaseException) -> str:
    """decord's message without time stamps, source files, paths and its C++ stack."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return re.sub(
        r"^\[[\d:]+\] \S+: |^(\[/[^\]]*\] )|Check failed: ",
        "",
        re.sub(r"^\[[\d:]+\] \S+: ", "", lines[0]),
    )[:200]
