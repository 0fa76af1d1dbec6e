"""Confidence intervals of a metric, over queries and over seeds."""

from __future__ import annotations

import functools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean

NUM_RESAMPLES = 1000
MIN_GROUPS = 8
"""Fewer groups than that say nothing about the next one; see `group_interval`."""
PSEUDO_GROUPS = 0.6
"""What is added to a share, in groups of mean size that hit every second time: of 0.35 to 1 the one
with which intervals hold the truth most nearly as often as they say, see docs/experiments.md.
"""
MOST_EFFECTIVE = 3.0
NUM_STEPS = 50


@dataclass(frozen=True)
class Interval:
    """A value, and the bounds that hold the true one with the stated confidence."""

    value: float
    low: float
    high: float

    def is_above(self, other: Interval) -> bool:
        """Whether even the low end lies above the other's high end: the intervals are apart."""
        return self.low > other.high


def wilson_interval(num_hits: int, num_queries: int, *, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a share of independent queries.

    Valid at 0 and 1 and for few queries.
    """
    assert 0 <= num_hits <= num_queries and num_queries >= 1, (num_hits, num_queries)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = num_hits / num_queries
    centre = (share + z**2 / (2 * num_queries)) / (1 + z**2 / num_queries)
    half = (
        z
        / (1 + z**2 / num_queries)
        * math.sqrt(share * (1 - share) / num_queries + z**2 / (4 * num_queries**2))
    )
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half))


def share_interval(
    hits: Sequence[float], groups: Sequence[str], *, confidence: float = 0.95
) -> Interval | None:
    """The interval of a share of hits (each 0 or 1) that depend on one another within a group; None
    below `MIN_GROUPS` groups.

    Every printed interval of recall or accuracy is this one: Wilson's score interval with the
    effective number of queries, which is what so many independent ones would vary as much as
    (Korn and Graubard 1998), in place of their number, and Student's t in place of the normal
    quantile. The variance is that between groups and the degrees of freedom are Satterthwaite's,
    both as Bell and McCaffrey (2002): groups of unequal size are worth fewer than they are. Some
    of a group that hits every second time is added (`PSEUDO_GROUPS`), so that groups which all
    agree leave room and shares near 0 and 1 are covered (``benchmarks.statistics``). The bounds lie
    in [0, 1].
    """
    sums, counts = _by_group(hits, groups)
    if len(counts) < MIN_GROUPS:
        return None
    total, size = len(hits), len(hits) / len(counts)
    added = PSEUDO_GROUPS * size
    centre = (sum(sums.values()) + added / 2) / (total + added)
    squares = sum(
        (sums[group] - centre * count) ** 2 / (1 - count / total) for group, count in counts.items()
    )
    squares += PSEUDO_GROUPS * (size * (0.5 - centre)) ** 2
    quantile = students_quantile(group_degrees(counts.values()), (1 + confidence) / 2)
    low, high = score_bounds(centre, squares / (total + added) ** 2, total, quantile)
    share = fmean(hits)
    return Interval(share, min(share, low), max(share, high))


def score_bounds(
    centre: float, variance: float, num_queries: int, quantile: float
) -> tuple[float, float]:
    """Wilson's bounds of a share in (0, 1) around `centre` whose variance is that of an effective
    number of independent queries, at most `MOST_EFFECTIVE` times as many as there are: groups that
    agree more than chance lets them leave room, too.
    """
    spread = centre * (1 - centre)
    least = spread / (MOST_EFFECTIVE * num_queries)
    shift = quantile**2 * max(variance, least) / spread
    middle = (centre + shift / 2) / (1 + shift)
    half = math.sqrt(shift * spread + shift**2 / 4) / (1 + shift)
    return max(0.0, middle - half), min(1.0, middle + half)


def group_degrees(counts: Iterable[float]) -> float:
    """The degrees of freedom of the variance between groups of so many queries each: one less than
    there are groups of equal size, fewer of unequal ones, at least 1.

    Satterthwaite's, of independent queries (Bell and McCaffrey 2002, Survey Methodology 28).
    """
    sizes = list(counts)
    total = sum(sizes)
    shares = [size / total for size in sizes]
    alone = [share**2 / max(1 - share, 1e-9) for share in shares]
    pairs = sum(alone) ** 2 - sum(part**2 for part in alone)
    return max(1.0, 1 / (sum(share**2 for share in shares) + max(0.0, pairs)))


def share_metrics(
    name: str, hits: Sequence[float], groups: Sequence[str], *, share: float | None = None
) -> dict[str, float]:
    """The metric `name`: the `share` of hits (None: their mean), with the bounds of its interval as
    ``NAME_low`` and ``NAME_high``, absent where there are too few groups.
    """
    interval = share_interval(hits, groups)
    found = {name: fmean(hits) if share is None else share}
    if interval is not None:
        found |= {f"{name}_low": interval.low, f"{name}_high": interval.high}
    return found


def metric_interval(metrics: Mapping[str, float], name: str) -> Interval | None:
    """The interval that `share_metrics` put beside the metric `name`; None where there is none."""
    value, low, high = (metrics.get(f"{name}{end}") for end in ("", "_low", "_high"))
    return None if value is None or low is None or high is None else Interval(value, low, high)


def _by_group(
    values: Sequence[float], groups: Sequence[str]
) -> tuple[dict[str, float], Counter[str]]:
    """(the sum of each group's values, how many it has)."""
    assert len(groups) == len(values) >= 1, (len(groups), len(values))
    sums: dict[str, float] = defaultdict(float)
    for value, group in zip(values, groups, strict=True):
        sums[group] += value
    return sums, Counter(groups)


def group_interval(
    values: Sequence[float],
    groups: Sequence[str],
    *,
    confidence: float = 0.95,
    least: float = -math.inf,
    most: float = math.inf,
) -> Interval | None:
    """The interval of a mean whose values depend on one another within a group; None below
    `MIN_GROUPS` groups.

    The linearised mean of a ratio (sums of the groups over their sizes), with the variance between
    groups and Student's t, both as Bell and McCaffrey (2002), see `group_degrees`. Where all groups
    agree there is room as for so many independent hits in a row (Wilson). Where a percentile
    bootstrap over few groups is too narrow, this holds what it says (``benchmarks.statistics``).
    For a paired comparison pass the differences, value by value. The bounds are cut at `least` and
    `most`, beyond which no mean can lie (-1 and 1 of a difference of shares).
    """
    sums, counts = _by_group(values, groups)
    if len(counts) < MIN_GROUPS:
        return None
    mean = sum(sums.values()) / len(values)
    total = len(values)
    squares = sum(
        (sums[group] - mean * count) ** 2 / (1 - count / total) for group, count in counts.items()
    )
    quantile = students_quantile(group_degrees(counts.values()), (1 + confidence) / 2)
    half = quantile * math.sqrt(squares) / total
    if not squares and math.isfinite(most - least):
        # All groups agree, so that their variance says nothing: as far as Wilson's interval of so
        # many hits in a row.
        number = len(counts)
        half = (most - least) * (1 - wilson_interval(number, number, confidence=confidence).low)
    return Interval(mean, max(least, mean - half), min(most, mean + half))


@functools.lru_cache(maxsize=4096)
def students_quantile(degrees: float, probability: float) -> float:
    """The quantile of Student's t of `degrees` of freedom (1 or more, whole or not) at a
    `probability` of 0.5 or more, to four digits.

    Its distribution is an integral of a power of the cosine (Abramowitz and Stegun, Handbook of
    Mathematical Functions, 26.7.3 and 26.7.4, which hold for any degrees), inverted by Newton's
    method, which comes nearer from the left.
    """
    assert degrees >= 1 and 0.5 <= probability < 1, (degrees, probability)
    logarithm = math.lgamma(degrees / 2) - math.lgamma((degrees + 1) / 2)
    wanted = (probability - 0.5) * math.sqrt(math.pi) * math.exp(logarithm)
    angle, step = 0.0, wanted
    while step > 1e-9 * wanted:
        angle += min(step, (math.pi / 2 - angle) / 2)
        missing = wanted - _integral_of_cosine(angle, degrees - 1)
        step = missing / math.cos(angle) ** (degrees - 1)
    return math.sqrt(degrees) * math.tan(angle)


def _integral_of_cosine(angle: float, power: float) -> float:
    """Of the cosine to the `power`, from 0 to `angle`, by Simpson's rule."""
    width = angle / (2 * NUM_STEPS)
    values = [math.cos(place * width) ** power for place in range(2 * NUM_STEPS + 1)]
    return width / 3 * (values[0] + 4 * sum(values[1::2]) + 2 * sum(values[2:-1:2]) + values[-1])


def bootstrap_interval(
    values: Sequence[float],
    groups: Sequence[str] | None = None,
    *,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap of a mean; with `groups`, whole groups are resampled.

    The videos of one scene succeed and fail together. For a paired comparison pass the differences,
    query by query. Deterministic for a `seed`.
    """
    import torch  # only here: reports and the coordinator need intervals, and never torch

    from prp_core.randomness import generator_for

    names = list(groups) if groups is not None else [str(number) for number in range(len(values))]
    assert len(names) == len(values) >= 1, (len(names), len(values))
    number_of = {name: number for number, name in enumerate(sorted(set(names)))}
    rows = torch.tensor([number_of[name] for name in names])
    sums = torch.zeros(len(number_of), dtype=torch.float64).index_add_(
        0, rows, torch.tensor(values, dtype=torch.float64)
    )
    counts = torch.bincount(rows, minlength=len(number_of)).double()
    generator = generator_for(seed, "bootstrap")
    drawn = torch.randint(len(number_of), (NUM_RESAMPLES, len(number_of)), generator=generator)
    means = sums[drawn].sum(dim=1) / counts[drawn].sum(dim=1)
    low, high = torch.quantile(
        means, torch.tensor([(1 - confidence) / 2, (1 + confidence) / 2], dtype=torch.float64)
    ).tolist()
    return Interval(fmean(values), low, high)
