"""The layout of a video's packets: decoding order, display order, and what each frame needs.

A place is a packet's position in decoding order::

    place                    0  1  2  3  4  5  6        I P B P B I P
    frame it shows           0  2  1  4  3  5  6        shown = (0, 2, 1, 4, 3, 5, 6)
    frame 6 needs            .  .  .  .  .  5  6        place 5 is a start
    frame 4 needs            0  1  .  3  .  .  .        the disposable 2 and 4 are left out
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class PacketLayout:
    """The order of packets and where decoding may begin.

    `shown[n]` is the place of frame n. Decoding may begin at any of `starts` (ascending, 0 first)
    for frames from there on. Nothing refers to the places in `disposable`. Those in `leading`, by
    start, come behind it and are shown before it: decoding that begins there does not give them.
    With `may_be_interlaced`, what marks a frame as interlaced lies in its own packet.
    """

    shown: tuple[int, ...]
    starts: tuple[int, ...]
    disposable: frozenset[int]
    leading: Mapping[int, frozenset[int]] = field(default_factory=dict)
    may_be_interlaced: bool = False
    _frame_of: dict[int, int] = field(init=False, repr=False)
    _frames_of_starts: tuple[int, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        assert self.starts[:1] == (0,) and sorted(self.shown) == list(range(len(self.shown))), (
            self.starts,
            len(self.shown),
        )
        frame_of = {place: frame for frame, place in enumerate(self.shown)}
        object.__setattr__(self, "_frame_of", frame_of)
        object.__setattr__(
            self, "_frames_of_starts", tuple(frame_of[place] for place in self.starts)
        )
        assert list(self._frames_of_starts) == sorted(self._frames_of_starts), (
            "starts come in the order of their frames"
        )

    def runs(self, indices: Sequence[int]) -> list[list[int]]:
        """The places to decode for the frames `indices` (ascending), as runs.

        Each run begins at a start, with a decoder that has been flushed.
        """
        runs: list[list[int]] = []
        begin = end = -1
        wanted = {self.shown[index] for index in indices}
        for index in indices:
            start = self.starts[bisect_right(self._frames_of_starts, index) - 1]
            if begin < 0 or start > end:
                runs.append([])
                begin = start
                end = start - 1
            last = self.shown[index]
            runs[-1].extend(
                place
                for place in range(end + 1, last + 1)
                if place in wanted or place not in self.disposable
            )
            end = max(end, last)
        return runs

    def frame_of(self, place: int) -> int:
        """The number of the frame that `place` shows."""
        return self._frame_of[place]

    def led_by(self, run: Sequence[int]) -> frozenset[int]:
        """What the first place of `run` cannot give."""
        return self.leading.get(run[0], frozenset())

    def segments(self) -> list[tuple[int, int]]:
        """(the last frame for which decoding begins at a start, how many pictures it needs, at
        most) for each start.

        What nothing refers to is left out but for one.
        """
        found = []
        frames = (*self._frames_of_starts[1:], len(self.shown))
        for start, following, frame in zip(
            self.starts, (*self.starts[1:], len(self.shown)), frames, strict=True
        ):
            end = max(self.leading.get(following, ()), default=following - 1) + 1
            needed = sum(place not in self.disposable for place in range(start, end - 1))
            found.append((frame - 1, needed + 1))
        return found

    def in_order(self, run: Sequence[int]) -> list[int]:
        """The places of `run` in the order of their frames."""
        return sorted(run, key=self._frame_of.__getitem__)
