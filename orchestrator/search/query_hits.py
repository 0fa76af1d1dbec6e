"""Which queries trials hit at their rungs: kept with each trial, and compared pair by pair.

All trials of a sweep answer the same queries, so two of them are known to differ by the differences
query by query: what is hard for both tells nothing and adds no error. Queries of one group (a
scene, a person) are hit or missed together, so the standard error is that over groups.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from orchestrator.run_model import BROKEN, RunModel
from prp_core.evaluation.intervals import MIN_GROUPS
from prp_core.evaluation.protocol import digest

HITS = "hits/"  # + epoch: the note of a trial with what it hit at that rung
HIT, MISSED = "1", "0"


@dataclass(frozen=True)
class PairedDifference:
    """How far one trial lies above another on the queries that both have read, and the standard
    error of that, over groups of queries.
    """

    value: float
    standard_error: float

    @property
    def in_standard_errors(self) -> float:
        """The value in standard errors."""
        return self.value / self.standard_error


@dataclass(frozen=True)
class Queries:
    """The queries of a sweep's validation part: the group of each by its key (a query without a
    group is its own).

    A trial's marks are a text with a character for each query in the order of the keys: 1, 0, or
    `BROKEN` for a video that it could not read.
    """

    group_of: Mapping[str, str]

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The keys in order."""
        return tuple(sorted(self.group_of))

    @cached_property
    def digest(self) -> str:
        """12 hex digits over the keys."""
        return digest({"queries": self.keys})

    def note(self, hits: Mapping[str, bool]) -> str:
        """What is kept of a trial's `hits` by key; `marks` reads it. Empty where some are of other
        queries (a space may vary what is asked), which compare with nothing.
        """
        if not hits or not hits.keys() <= self.group_of.keys():
            return ""
        read = _packed(key in hits for key in self.keys) if len(hits) < len(self.keys) else ""
        return f"{self.digest}:{_packed(hits.get(key, False) for key in self.keys)}:{read}"

    def marks(self, note: str) -> str:
        """The marks of a trial by its `note`; empty where that is empty or of other queries."""
        kept_digest, _, kept = note.partition(":")
        if kept_digest != self.digest:
            return ""
        hits, read = (self._unpacked(text) for text in kept.split(":"))
        return "".join(
            (HIT if hit else MISSED) if was_read else BROKEN
            for hit, was_read in zip(hits, read or [True] * len(hits), strict=True)
        )

    def difference(self, ahead: str, behind: str) -> PairedDifference | None:
        """How far the trial with the marks `ahead` lies above that of `behind`; None where fewer
        than `MIN_GROUPS` groups have queries that both have read.
        """
        return paired_difference(ahead, behind, [self.group_of[key] for key in self.keys])

    def _unpacked(self, text: str) -> list[bool]:
        if not text:
            return []
        packed = np.frombuffer(base64.b64decode(text), dtype=np.uint8)
        return [bool(bit) for bit in np.unpackbits(packed, count=len(self.keys))]


NO_QUERIES = Queries({})


def paired_difference(ahead: str, behind: str, groups: Sequence[str]) -> PairedDifference | None:
    """See `Queries.difference`; `groups` has the group of each query."""
    both = {
        group for group, *marks in zip(groups, ahead, behind, strict=True) if BROKEN not in marks
    }
    if len(both) < MIN_GROUPS:
        return None
    model = RunModel({"ahead": [ahead], "behind": [behind]}, groups, trained=())
    value = model.recall("ahead") - model.recall("behind")
    return PairedDifference(value, model.standard_error("ahead", "behind"))


def _packed(bits: Iterable[bool]) -> str:
    return base64.b64encode(np.packbits(np.array(list(bits), dtype=bool)).tobytes()).decode()
