"""The variance of a mean over groups of unequal size, and the degrees of freedom it is known with.

The working model of Imbens and Kolesar (2016, Review of Economics and Statistics 98): values of one
group are correlated, equally in all groups. With it the squared residuals of groups are scaled so
that their sum expects the variance of the mean (Bell and McCaffrey's correction, which they made
for independent values), and the distribution of that sum is known. A large group then counts for
what it is: most of the variance, seen once. Of groups of equal size nothing here depends on the
correlation.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from prp_core.evaluation.intervals import students_quantile

LEAST_CORRELATION = 0.05
"""What is assumed at least: few groups often show none where there is some."""
NUM_ANGLES = 32
_SQUARED_SINES = tuple(
    math.sin(math.pi * (place + 0.5) / (2 * NUM_ANGLES)) ** 2 for place in range(NUM_ANGLES)
)


def correlation_within(sums: Sequence[float], squares: float, sizes: Sequence[int]) -> float:
    """The intraclass correlation of values in groups of `sizes`, from their `sums` and the sum of
    all squared values: by the analysis of variance, `LEAST_CORRELATION` to 1.
    """
    total, num_groups = sum(sizes), len(sizes)
    if total <= num_groups:
        return LEAST_CORRELATION
    mean = sum(sums) / total
    between = sum((one - mean * size) ** 2 / size for one, size in zip(sums, sizes, strict=True))
    within = squares - sum(one**2 / size for one, size in zip(sums, sizes, strict=True))
    within = max(0.0, within) / (total - num_groups)
    usual = (total - sum(size**2 for size in sizes) / total) / (num_groups - 1)
    of_groups = (between / (num_groups - 1) - within) / usual
    if of_groups <= 0:
        return LEAST_CORRELATION
    return max(LEAST_CORRELATION, of_groups / (of_groups + within))


def residual_weights(sizes: Sequence[int], correlation: float) -> list[float]:
    """The factor of each group's squared residual (its sum less its share of the sum of all), with
    which they add up to the variance of that sum.
    """
    parts = _parts(sizes, correlation)
    total = sum(sizes)
    return [_weight(size / total, part) for size, part in zip(sizes, parts, strict=True)]


def degrees_at(sizes: Sequence[int], correlation: float, probability: float) -> float:
    """The degrees of freedom of the Student's t that has the quantile at `probability` which a mean
    over groups of `sizes` has when it is divided by its estimated standard deviation: from 1 to one
    less than there are groups.
    """
    counts = tuple(sorted(Counter(sizes).items()))
    if len(counts) == 1:
        return len(sizes) - 1.0
    return _degrees_at(counts, round(correlation, 2), probability)


@functools.lru_cache(maxsize=4096)
def _degrees_at(
    counts: tuple[tuple[int, int], ...], correlation: float, probability: float
) -> float:
    sizes = [size for size, _ in counts]
    total = sum(size * number for size, number in counts)
    parts = _parts(sizes, correlation, [number for _, number in counts])
    kinds = [
        _Kind(number, size / total, part, _weight(size / total, part))
        for (size, number), part in zip(counts, parts, strict=True)
    ]
    low, high = 1.0, sum(number for _, number in counts) - 1.0
    while high - low > 1e-3 * low:
        middle = math.sqrt(low * high)
        is_beyond = _tail(kinds, students_quantile(middle, probability)) > 2 * (1 - probability)
        low, high = (low, middle) if is_beyond else (middle, high)
    return low


@dataclass(frozen=True)
class _Kind:
    """So many groups of one size: the `share` of all values that one has, its `part` of the
    variance of their sum, and the `weight` of its squared residual.
    """

    number: int
    share: float
    part: float
    weight: float


def _tail(kinds: Sequence[_Kind], quantile: float) -> float:
    """The probability that a mean lies more than `quantile` estimated standard deviations away.

    Of a normal value over the root of an independent variance it is an integral of the variance's
    Laplace transform (Craig 1991), which is a determinant here: the estimate is a quadratic form of
    the groups' sums, with a diagonal matrix plus one of rank 2.
    """
    of_total = sum(kind.number * kind.weight * kind.share**2 for kind in kinds)
    found = 0.0
    for squared_sine in _SQUARED_SINES:
        scale = quantile**2 / squared_sine
        logarithm = ones = mixed = shares = 0.0
        for kind in kinds:
            own = 1 + scale * kind.weight * kind.part
            logarithm += kind.number * math.log(own)
            part, pull = kind.number * kind.part / own, kind.weight * kind.share
            ones += part
            mixed += part * pull
            shares += part * pull**2
        rest = (1 + scale * (of_total * ones - mixed)) * (1 - scale * mixed)
        rest += scale**2 * ones * (of_total * mixed - shares)
        found += math.exp(-0.5 * logarithm) / math.sqrt(max(rest, 1e-300))
    return found / NUM_ANGLES


def _parts(
    sizes: Sequence[int], correlation: float, numbers: Sequence[int] | None = None
) -> list[float]:
    """The share of a group of each of `sizes` in the variance of the sum of all values, of groups
    of which there are `numbers` (None: one of each).
    """
    variances = [size * (1 + (size - 1) * correlation) for size in sizes]
    total = sum(
        one * number for one, number in zip(variances, numbers or [1] * len(sizes), strict=True)
    )
    return [one / total for one in variances]


def _weight(share: float, part: float) -> float:
    """`part` over what the squared residual of a group with this `share` of all values expects."""
    return part / max(part * (1 - 2 * share) + share**2, 1e-12)
