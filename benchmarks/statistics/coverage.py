"""Coverage of the intervals of a mean over grouped queries, by simulation.

Each group (a scene, a person) has a hit rate of its own around the true one; its queries hit with
it. `correlation` is the intraclass correlation of the hits: 0 for independent queries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from prp_core.evaluation.intervals import (
    Interval,
    bootstrap_interval,
    group_interval,
    share_interval,
    wilson_interval,
)

Method = Callable[[Sequence[float], Sequence[str]], Interval | None]


def wilson(values: Sequence[float], groups: Sequence[str]) -> Interval:
    """Wilson's interval, which takes the queries for independent."""
    return wilson_interval(round(sum(values)), len(values))


def students(values: Sequence[float], groups: Sequence[str]) -> Interval | None:
    """Student's t of the groups, cut at 0 and 1."""
    return group_interval(values, groups, least=0.0, most=1.0)


METHODS: dict[str, Method] = {
    "Wilson": wilson,
    "bootstrap of groups": bootstrap_interval,
    "Student's t of groups": students,
    "printed": share_interval,
}


@dataclass(frozen=True)
class Corpus:
    """Validation videos: so many groups of `smallest` to `largest` queries, the first of which has
    `first_times` as many.
    """

    num_groups: int
    smallest: int = 5
    largest: int = 8
    rate: float = 0.4
    correlation: float = 0.3
    first_times: int = 1

    def hits(self, draw: np.random.Generator) -> tuple[list[float], list[str]]:
        """(1 or 0 of each query, its group)."""
        strength = 1 / self.correlation - 1
        rate_G = draw.beta(self.rate * strength, (1 - self.rate) * strength, self.num_groups)
        size_G = draw.integers(self.smallest, self.largest + 1, self.num_groups)
        size_G[0] *= self.first_times
        group_Q = np.repeat(np.arange(self.num_groups), size_G)
        hit_Q = draw.random(len(group_Q)) < rate_G[group_Q]
        names = [str(group) for group in range(self.num_groups)]
        return hit_Q.astype(float).tolist(), [names[group] for group in group_Q.tolist()]


def coverage(corpus: Corpus, method: Method, *, num_sweeps: int, seed: int = 0) -> float:
    """The share of `num_sweeps` simulated corpora in whose interval the true rate lies."""
    draw = np.random.default_rng(seed)
    held = 0
    for _ in range(num_sweeps):
        interval = method(*corpus.hits(draw))
        assert interval is not None, f"{corpus.num_groups} groups are too few for an interval"
        held += interval.low <= corpus.rate <= interval.high
    return held / num_sweeps


def share_held(figure: tuple[Corpus, str, int]) -> float:
    """The `coverage` of the method of that name over so many corpora, for another process."""
    corpus, name, number = figure
    return coverage(corpus, METHODS[name], num_sweeps=number)
