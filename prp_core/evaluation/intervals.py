"""Confidence intervals of a metric, over queries and over seeds."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean

NUM_RESAMPLES = 1000
MIN_GROUPS = 8
"""Fewer groups than that say nothing about the next one; see `group_interval`."""
PSEUDO_GROUPS = 0.5


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

    Every printed interval of recall or accuracy is this one. Student's t of one degree of freedom
    less than there are groups, on the log-odds, with the variance between groups. Half a group of
    mean size that hits every second time is added, so that groups which all agree leave room and
    shares near 0 and 1 are covered (``benchmarks.statistics``). The bounds lie in [0, 1].
    """
    sums, counts = _by_group(hits, groups)
    if len(counts) < MIN_GROUPS:
        return None
    size = len(hits) / len(counts)
    weight = PSEUDO_GROUPS
    total = len(hits) + weight * size
    centre = (sum(sums.values()) + weight * size / 2) / total
    squares = sum((sums[group] - centre * count) ** 2 for group, count in counts.items())
    squares += weight * (size * (0.5 - centre)) ** 2
    number = len(counts) + weight
    variance = squares * number / (number - 1) / total**2
    odds = math.log(centre / (1 - centre))
    deviation = math.sqrt(variance) / (centre * (1 - centre))
    half = students_quantile(len(counts) - 1, (1 + confidence) / 2) * deviation
    share = fmean(hits)
    return Interval(share, min(share, _logistic(odds - half)), max(share, _logistic(odds + half)))


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


def _logistic(odds: float) -> float:
    return (1 + math.tanh(odds / 2)) / 2


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
    groups and Student's t of one degree of freedom less than there are groups. Where all groups
    agree there is room as for so many independent hits in a row (Wilson). Where a percentile
    bootstrap over few groups is too narrow, this holds what it says (``benchmarks.statistics``).
    For a paired comparison pass the differences, value by value. The bounds are cut at `least` and
    `most`, beyond which no mean can lie (-1 and 1 of a difference of shares).
    """
    sums, counts = _by_group(values, groups)
    if len(counts) < MIN_GROUPS:
        return None
    mean = sum(sums.values()) / len(values)
    squares = sum((sums[group] - mean * count) ** 2 for group, count in counts.items())
    variance = squares * len(counts) / (len(counts) - 1) / len(values) ** 2
    half = students_quantile(len(counts) - 1, (1 + confidence) / 2) * math.sqrt(variance)
    if not squares and math.isfinite(most - least):
        # All groups agree, so that their variance says nothing: as far as Wilson's interval of so
        # many hits in a row.
        number = len(counts)
        half = (most - least) * (1 - wilson_interval(number, number, confidence=confidence).low)
    return Interval(mean, max(least, mean - half), min(most, mean + half))


def students_quantile(degrees: int, probability: float) -> float:
    """The quantile of Student's t for 7 degrees of freedom or more, to four digits.

    Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.5.
    """
    assert degrees >= MIN_GROUPS - 1, degrees
    z = NormalDist().inv_cdf(probability)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / degrees**power for power, term in enumerate(terms, 1))


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
