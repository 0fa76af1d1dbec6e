"""The variance of a mean over unequal groups, and its degrees of freedom."""

from __future__ import annotations

import numpy as np
import pytest

from prp_core.evaluation.group_variance import (
    LEAST_CORRELATION,
    correlation_within,
    degrees_at,
    residual_weights,
)
from prp_core.evaluation.intervals import students_quantile

UNEQUAL = [104, *[13] * 4, *[12] * 7]


def test_of_equal_groups_nothing_depends_on_the_correlation() -> None:
    for correlation in (0.0, 0.3, 1.0):
        assert residual_weights([5] * 9, correlation) == pytest.approx([9 / 8] * 9)
        assert degrees_at([5] * 9, correlation, 0.975) == 8


def test_without_correlation_residuals_are_weighed_as_bell_and_mccaffrey_do() -> None:
    shares = np.array(UNEQUAL) / sum(UNEQUAL)
    assert residual_weights(UNEQUAL, 0.0) == pytest.approx((1 / (1 - shares)).tolist())


@pytest.mark.parametrize("sizes", [UNEQUAL, [100, 100, *[5] * 8], [900, *[10] * 10], [7, *[5] * 7]])
def test_the_variance_is_expected_and_its_quantile_holds(sizes: list[int]) -> None:
    correlation, number = 0.1, len(sizes)
    draw = np.random.default_rng(0)
    variance_G = np.array([size * (1 + (size - 1) * correlation) for size in sizes])
    sums_SG = draw.normal(0, np.sqrt(variance_G / variance_G.sum()), (100_000, number))
    shares_G = np.array(sizes) / sum(sizes)
    residual_SG = sums_SG - shares_G * sums_SG.sum(axis=1, keepdims=True)
    estimated_S = residual_SG**2 @ np.array(residual_weights(sizes, correlation))
    assert estimated_S.mean() == pytest.approx(1, abs=0.02)
    quantile = students_quantile(degrees_at(sizes, correlation, 0.975), 0.975)
    beyond = np.abs(draw.normal(size=len(estimated_S))) > quantile * np.sqrt(estimated_S)
    assert beyond.mean() == pytest.approx(0.05, abs=0.003)


def test_the_correlation_within_groups_is_found() -> None:
    draw = np.random.default_rng(1)
    found = []
    for _ in range(200):
        values = [draw.normal(0, 0.5) + draw.normal(0, 1, size) for size in UNEQUAL]
        sums, squares = [one.sum() for one in values], sum((one**2).sum() for one in values)
        found.append(correlation_within(sums, squares, UNEQUAL))
    assert np.mean(found) == pytest.approx(0.2, abs=0.03)
    assert correlation_within([1.0] * 8, 8.0, [1] * 8) == LEAST_CORRELATION, "one value in each"
    assert correlation_within([0.0] * 8, 0.0, [4] * 8) == LEAST_CORRELATION, "all agree"
    assert correlation_within([4.0, 0.0] * 4, 16.0, [4] * 8) == 1, "groups agree within alone"
