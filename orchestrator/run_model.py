"""A random-effects model of evaluated runs: differences of recall over new seeds and new scenes.

A run is a row of marks: 1 or 0 for each query. What varies between the runs of one configuration is
the luck of training; it is pooled over all trained configurations, because one alone has too few
seeds to know it. What varies between groups of queries (scenes, persons) is the luck of the videos.
The variance of a difference is the sum of both, less what the two sums count twice, as in the
analysis of readers and cases (Obuchowski and Rockette 1995; Hillis 2007), with Satterthwaite's
degrees of freedom. The variance between groups, of any sizes, is as Bell and McCaffrey's (2002);
that of a difference allows for what the values of a group have in common (`group_variance.py`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cached_property
from statistics import NormalDist
from typing import Any

import numpy as np

from prp_core.evaluation.group_variance import (
    correlation_within,
    degrees_at,
    residual_weights,
)
from prp_core.evaluation.intervals import (
    MIN_GROUPS,
    PSEUDO_GROUPS,
    Interval,
    group_degrees,
    score_bounds,
    students_quantile,
)

BROKEN = "-"
NUM_DRAWS = 20_000
Array = np.ndarray[Any, Any]


class Verdict(StrEnum):
    """How one configuration compares with another."""

    BETTER = "better than"
    """The interval of the difference lies above 0."""

    WORSE = "worse than"
    """It lies below 0."""

    UNDECIDED = "not told apart from"
    """It holds 0."""

    UNKNOWN = "not comparable with"
    """There are too few groups of videos for an interval."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How far the recall of one configuration lies above another's (negative: below), with the
    bounds of its interval at `confidence`; the bounds are None where there are too few groups.
    """

    value: float
    low: float | None = None
    high: float | None = None
    confidence: float = 0.95

    @property
    def verdict(self) -> Verdict:
        """What the interval says."""
        if self.low is None or self.high is None:
            return Verdict.UNKNOWN
        if self.low > 0:
            return Verdict.BETTER
        return Verdict.WORSE if self.high < 0 else Verdict.UNDECIDED

    @property
    def text(self) -> str:
        """``+0.130 [+0.021, +0.239]``; the value alone where there is no interval."""
        if self.low is None or self.high is None:
            return f"{self.value:+.3f}"
        return f"{self.value:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"

    def as_json(self) -> dict[str, Any]:
        """Its fields, as they are kept with the study."""
        return asdict(self)


@dataclass(frozen=True)
class Luck:
    """The luck of training: the `squares` of runs' recall around the mean of their configuration,
    and their `degrees` of freedom. Of the squares, `of_queries` are expected from the chance with
    which each run hits a query, which is less the more queries there are.
    """

    squares: float = 0.0
    degrees: int = 0
    of_queries: float = 0.0

    def plus(self, other: Luck) -> Luck:
        """Both, pooled."""
        return Luck(
            self.squares + other.squares,
            self.degrees + other.degrees,
            self.of_queries + other.of_queries,
        )

    def beside(self, other: Luck) -> Luck:
        """The same training on the queries of `other`; unchanged where `other` is of one run."""
        if not other.degrees:
            return self
        of_queries = other.of_queries / other.degrees * self.degrees
        squares = self.squares - self.of_queries + of_queries
        return Luck(max(squares, of_queries), self.degrees, of_queries)

    @property
    def variance(self) -> float:
        """Of one run; 0 where it is not known."""
        return self.squares / self.degrees if self.degrees else 0.0


NO_LUCK = Luck()


class RunModel:
    """The model of `runs` (name -> a row of marks for each seed) on queries of `groups`.

    The luck of those in `trained` is pooled, with `known` from runs on other videos; any other name
    has its own. A query that one run could not read counts for none.
    """

    def __init__(
        self,
        runs: Mapping[str, Sequence[str]],
        groups: Sequence[str],
        *,
        trained: Collection[str],
        known: Luck | None = None,
    ) -> None:
        marks = {name: _rows(rows, len(groups)) for name, rows in runs.items()}
        whole = np.all([(rows != ord(BROKEN)).all(axis=0) for rows in marks.values()], axis=0)
        numbers = {group: number for number, group in enumerate(sorted(set(groups)))}
        of_query = np.array([numbers[group] for group in groups])[whole]
        present, of_query = np.unique(of_query, return_inverse=True)
        self.num_groups = len(present)
        self.num_queries = len(of_query)
        assert self.num_queries, "no query was read by every run"
        self._sizes: list[int] = np.bincount(of_query, minlength=self.num_groups).tolist()
        self._share_G = np.array(self._sizes) / self.num_queries
        self._degrees = group_degrees(self._share_G.tolist())
        # what a group pulls the mean towards itself makes it vary less around it
        self._weight_G = 1 / np.maximum(1 - self._share_G, 1e-9)
        hits = {name: rows[:, whole] == ord("1") for name, rows in marks.items()}
        self._mean_hits = {name: rows.mean(axis=0) for name, rows in hits.items()}
        self._parts = {
            name: np.stack(
                [np.bincount(of_query, weights=row, minlength=self.num_groups) for row in rows]
            )
            / self.num_queries
            for name, rows in hits.items()
        }
        self._trained = frozenset(trained)
        self._known = known or NO_LUCK

    def recalls(self, name: str) -> list[float]:
        """The recall of each of its runs."""
        return [float(value) for value in self._parts[name].sum(axis=1)]

    def recall(self, name: str) -> float:
        """The mean over its runs."""
        return float(self._parts[name].sum(axis=1).mean())

    def luck_of(self, name: str) -> Luck:
        """Of the runs of `name` alone."""
        recalls = self._parts[name].sum(axis=1)
        squares, degrees = float(((recalls - recalls.mean()) ** 2).sum()), len(recalls) - 1
        return Luck(squares, degrees, self._twice(name) * len(recalls) * degrees)

    @cached_property
    def pooled(self) -> Luck:
        """Of all trained configurations."""
        own = NO_LUCK
        for name in sorted(self._parts.keys() & self._trained):
            own = own.plus(self.luck_of(name))
        return own.plus(self._known.beside(own))

    def difference(
        self,
        name: str,
        other: str,
        *,
        confidence: float = 0.95,
        selected_of: int = 1,
        taken_of: int = 1,
    ) -> Difference:
        """How far `name` lies above `other`, over new seeds and new scenes.

        `selected_of`: `name` was selected on these very videos as the best of so many, `taken_of`:
        by its runs with these very seeds as the best of so many. The variance of the scenes and
        that of the training of `name` are widened as the maximum of so many needs (Bonferroni).
        """
        value = self.recall(name) - self.recall(other)
        if self.num_groups < MIN_GROUPS:
            return Difference(value=value, confidence=confidence)
        widened = _widening(confidence, taken_of)
        shares = [(name, widened / len(self._parts[name])), (other, 1 / len(self._parts[other]))]
        if {name, other} <= self._trained:  # one estimate, counted once
            scale = sum(share for _, share in shares)
            terms = [(self.pooled.variance * scale, self.pooled.degrees)]
        else:
            lucks = [(self._luck(one), share) for one, share in shares]
            terms = [(luck.variance * share, luck.degrees) for luck, share in lucks]
        scenes, degrees = self._variance_of_scenes(name, other, confidence)
        scenes *= _widening(confidence, selected_of)
        half = _half_width([*terms, (scenes, degrees)], confidence)
        low, high = max(-1.0, value - half), min(1.0, value + half)
        return Difference(value=value, low=low, high=high, confidence=confidence)

    def standard_error(self, name: str, other: str) -> float:
        """Of how far `name` lies above `other`, over new scenes: of the paired differences, query
        by query, over groups of queries. What the luck of training adds is not in it.
        """
        return math.sqrt(self._scenes(name, other)[0])

    def interval(self, name: str, *, confidence: float = 0.95) -> Interval | None:
        """The recall of `name` over new seeds and new scenes, Wilson's as `share_interval`; None
        below `MIN_GROUPS` groups.
        """
        if self.num_groups < MIN_GROUPS:
            return None
        luck, number = self._luck(name), len(self._parts[name])
        value = self.recall(name)
        # What is added counts with the groups: it draws the mean, and all that the mean varies by,
        # together.
        whole = self.num_groups + PSEUDO_GROUPS
        drawn = (self.num_groups / whole) ** 2
        centre = (value * self.num_groups + PSEUDO_GROUPS / 2) / whole
        away = PSEUDO_GROUPS * ((0.5 - centre) / whole) ** 2
        part_G = self._parts[name].mean(axis=0)
        # The degrees of freedom are those of independent queries: bounds of a share are wide where
        # its variance is, so that these hold what they say (``benchmarks.statistics``).
        weight_G, _ = self._weights(part_G, self._mean_hits[name])
        squares = float((weight_G * (part_G - self._share_G * centre) ** 2).sum())
        scenes = max(0.0, drawn * (squares - self._twice(name, weight_G))) + away
        terms = [(drawn * luck.variance / number, luck.degrees), (scenes, self._degrees)]
        variance, quantile = _pooled(terms, confidence)
        low, high = score_bounds(centre, variance, self.num_queries, quantile)
        return Interval(value, min(value, low), max(value, high))

    def chances(self, names: Sequence[str]) -> dict[str, tuple[float, float]]:
        """For each of `names`, the probability that its recall is the highest of them, and the
        expected loss: how far it lies below the highest on average.

        By draws from the posterior of a flat prior, the same each time.
        """
        centre = np.array([self.recall(name) for name in names])
        rows = np.stack([self._parts[name].mean(axis=0) for name in names])
        centred = rows - self._share_G * centre[:, None]
        covariance = (centred * self._weight_G) @ centred.T
        generator = np.random.default_rng(0)

        def scales(degrees: float) -> Array:
            return np.sqrt(degrees / generator.chisquare(degrees, NUM_DRAWS))[:, None]

        none = np.zeros(len(names))
        covariance = covariance + 1e-12 * np.eye(len(names))  # equal rows have none
        scenes = generator.multivariate_normal(none, covariance, NUM_DRAWS)
        seeds = generator.normal(0.0, 1.0, scenes.shape) * np.sqrt(
            [self.pooled.variance / len(self._parts[name]) for name in names]
        )
        drawn = centre + scenes * scales(self._degrees)
        drawn += seeds * scales(max(1, self.pooled.degrees))
        best = drawn.max(axis=1)
        wins = np.bincount(drawn.argmax(axis=1), minlength=len(names)) / NUM_DRAWS
        losses = (best[:, None] - drawn).mean(axis=0)
        return {
            name: (float(win), float(loss))
            for name, win, loss in zip(names, wins, losses, strict=True)
        }

    def _luck(self, name: str) -> Luck:
        return self.pooled if name in self._trained else self.luck_of(name)

    def _variance_of_scenes(self, name: str, other: str, confidence: float) -> tuple[float, float]:
        """Of the difference of two means, without what the luck of the runs counts as well; and the
        degrees of freedom of an interval at `confidence`.
        """
        variance, correlation = self._scenes(name, other)
        return variance, degrees_at(self._sizes, correlation, (1 + confidence) / 2)

    def _scenes(self, name: str, other: str) -> tuple[float, float]:
        """The variance of `_variance_of_scenes`, and the correlation within groups."""
        of_group = self._parts[name].mean(axis=0) - self._parts[other].mean(axis=0)
        value = float(of_group.sum())
        of_query = self._mean_hits[name] - self._mean_hits[other]
        weight_G, correlation = self._weights(of_group, of_query)
        # where all groups agree, there is some left, too
        away = PSEUDO_GROUPS * ((abs(value) + 1 / self.num_queries) / self.num_groups) ** 2
        whole = float((weight_G * (of_group - self._share_G * value) ** 2).sum()) + away
        twice = self._twice(name, weight_G) + self._twice(other, weight_G)
        # What is counted twice is an estimate itself: of the variance at least half is left. Nor
        # is it less than if one query had told them apart: equal hits are not equal encoders.
        least = max(whole / 2, self.num_queries**-2.0)
        return max(whole - twice, least), correlation

    def _weights(self, of_group: Array, of_query: Array) -> tuple[Array, float]:
        """(the weights of the groups' squared residuals, the correlation within groups), of a mean
        with these parts, from the values of its queries.
        """
        sums = (of_group * self.num_queries).tolist()
        correlation = correlation_within(sums, float((of_query**2).sum()), self._sizes)
        return np.array(residual_weights(self._sizes, correlation)), correlation

    def _twice(self, name: str, weight_G: Array | None = None) -> float:
        """What both the variance over runs and that over groups hold: the interaction. `weight_G`
        is that of the groups' squares (None: as for independent queries).
        """
        parts = self._parts[name]
        number = len(parts)
        if number < 2:
            return 0.0
        recalls = parts.sum(axis=1)
        rest = parts - parts.mean(axis=0) - np.outer(recalls - recalls.mean(), self._share_G)
        squares_G = (rest**2).sum(axis=0) * (self._weight_G if weight_G is None else weight_G)
        return float(squares_G.sum()) / (number - 1) / number


def _half_width(terms: Sequence[tuple[float, float]], confidence: float) -> float:
    """Of an interval whose variance is the sum of `terms` (variance, its degrees of freedom)."""
    variance, quantile = _pooled(terms, confidence)
    return quantile * math.sqrt(variance)


def _pooled(terms: Sequence[tuple[float, float]], confidence: float) -> tuple[float, float]:
    """(the sum of the variances of `terms`, the quantile of Student's t of their pooled degrees)"""
    total = sum(variance for variance, _ in terms)
    if not total:
        return 0.0, 0.0
    degrees = total**2 / sum(variance**2 / count for variance, count in terms if variance)
    return total, students_quantile(max(1.0, degrees), (1 + confidence) / 2)


def _widening(confidence: float, selected_of: int) -> float:
    """The factor on a variance that the best of `selected_of` needs."""
    level = (1 - confidence) / 2
    normal = NormalDist()
    return (normal.inv_cdf(level / max(1, selected_of)) / normal.inv_cdf(level)) ** 2


def _rows(rows: Sequence[str], num_queries: int) -> Array:
    assert rows and all(len(row) == num_queries for row in rows), (num_queries, len(rows))
    return np.stack([np.frombuffer(row.encode(), dtype=np.uint8) for row in rows])
