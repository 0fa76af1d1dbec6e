"""Which entries of a journal are merged into larger objects, and which objects a reader reads.

A segment is a copy of consecutive entries, so that a journal is rebuilt with few requests: blocks
of 64 entries, eight of them merged into one of 512, and so on up to 32,768. Every block begins at a
multiple of its size. Entries are never removed: that their keys are taken is what fences a writer.
A segment that lies within a larger one is removed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SEGMENT_KEY = re.compile(r"(\d{12})-(\d{12})\.jsonl")


@dataclass(frozen=True)
class MergeSizes:
    """How many entries the smallest segments have, how many segments are merged into a larger one,
    and how many entries the largest may have.
    """

    smallest: int = 64
    fan_in: int = 8
    largest: int = 64 * 8**3


@dataclass(frozen=True, order=True)
class Segment:
    """The entries `first` to `last`, both included, in one object."""

    first: int
    last: int

    @property
    def size(self) -> int:
        """How many entries it holds."""
        return self.last - self.first + 1

    @property
    def name(self) -> str:
        """The last part of its key."""
        return f"{self.first:012d}-{self.last:012d}.jsonl"

    def covers(self, other: Segment) -> bool:
        """Whether `other` is another segment within this one."""
        return self != other and self.first <= other.first and other.last <= self.last


@dataclass(frozen=True)
class Merge:
    """A segment to be written: of the `parts`, or of single entries where there are none."""

    target: Segment
    parts: tuple[Segment, ...] = ()


def parse_segment(name: str) -> Segment | None:
    """The segment of that name; None where something else has it."""
    match = SEGMENT_KEY.fullmatch(name)
    return Segment(int(match[1]), int(match[2])) if match else None


def cover(segments: Iterable[Segment], start: int) -> Sequence[Segment]:
    """The fewest segments that hold all entries from `start` on, as far as segments reach without a
    hole.
    """
    chosen: list[Segment] = []
    known = list(segments)
    while True:
        here = [segment for segment in known if segment.first <= start <= segment.last]
        if not here:
            return chosen
        chosen.append(max(here, key=lambda segment: segment.last))
        start = chosen[-1].last + 1


def next_merge(segments: Iterable[Segment], num_entries: int, sizes: MergeSizes) -> Merge | None:
    """What to merge next, the oldest first and small blocks before large ones; None: nothing.

    `num_entries` is how many entries the journal has.
    """
    known = set(segments)
    merged = cover(known, 0)
    end = merged[-1].last + 1 if merged else 0
    block_end = (end // sizes.smallest + 1) * sizes.smallest
    if block_end <= num_entries:
        return Merge(Segment(block_end - sizes.smallest, block_end - 1))
    size = sizes.smallest
    while size < sizes.largest:
        larger = size * sizes.fan_in
        for first in range(0, end - larger + 1, larger):
            parts = tuple(
                Segment(begin, begin + size - 1) for begin in range(first, first + larger, size)
            )
            target = Segment(first, first + larger - 1)
            if known.issuperset(parts) and target not in known:
                return Merge(target, parts)
        size = larger
    return None


def superseded(segments: Iterable[Segment]) -> Sequence[Segment]:
    """The segments that lie within a larger one."""
    known = sorted(segments)
    return [small for small in known if any(large.covers(small) for large in known)]
