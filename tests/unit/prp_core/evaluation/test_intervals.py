"""Confidence intervals against published tables, and against how often they hold the truth."""

from __future__ import annotations

import random
import statistics

import numpy as np
import pytest
from scipy.special import stdtrit

from benchmarks.statistics.coverage import Corpus, coverage, wilson
from prp_core.evaluation.intervals import (
    Interval,
    bootstrap_interval,
    group_degrees,
    group_interval,
    metric_interval,
    share_interval,
    share_metrics,
    students_quantile,
    wilson_interval,
)


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (5, 10, 0.2366, 0.7634),
        (81, 263, 0.2553, 0.3662),
    ],
)
def test_wilson_against_known_values(hits: int, total: int, low: float, high: float) -> None:
    interval = wilson_interval(hits, total)
    assert (interval.value, interval.low, interval.high) == pytest.approx(
        (hits / total, low, high), abs=1e-4
    )


def test_wilson_holds_the_truth_about_as_often_as_it_says() -> None:
    draw = random.Random(0)
    held = 0
    for _ in range(1000):
        interval = wilson_interval(sum(draw.random() < 0.3 for _ in range(40)), 40)
        held += interval.low <= 0.3 <= interval.high
    assert 920 <= held <= 985


def test_bootstrap_is_near_the_normal_interval_for_many_values() -> None:
    draw = random.Random(0)
    values = [float(draw.random() < 0.4) for _ in range(500)]
    interval = bootstrap_interval(values)
    share = sum(values) / 500
    half = 1.96 * (share * (1 - share) / 500) ** 0.5
    assert (interval.value, interval.low, interval.high) == pytest.approx(
        (share, share - half, share + half), abs=0.01
    )
    assert bootstrap_interval(values) == interval, "the same each time"
    assert bootstrap_interval(values, seed=1) != interval


def test_videos_of_one_scene_do_not_count_as_independent() -> None:
    draw = random.Random(0)
    scenes = [f"scene-{number}" for number in range(20) for _ in range(10)]
    values = [value for _ in range(20) for value in [float(draw.random() < 0.5)] * 10]
    alone, grouped = bootstrap_interval(values), bootstrap_interval(values, scenes)
    assert grouped.high - grouped.low > 2.5 * (alone.high - alone.low)
    assert grouped.value == alone.value


def test_all_alike_leaves_no_room() -> None:
    assert bootstrap_interval([1.0] * 5, ["a", "a", "b", "c", "c"]) == Interval(1.0, 1.0, 1.0)


def test_apart_means_no_overlap() -> None:
    low, high = Interval(0.3, 0.2, 0.4), Interval(0.6, 0.5, 0.7)
    assert high.is_above(low) and not low.is_above(high)
    assert not Interval(0.5, 0.39, 0.6).is_above(low)


@pytest.mark.parametrize(
    ("degrees", "quantile"),
    [
        (1, 12.706205),
        (2, 4.302653),
        (3.5, stdtrit(3.5, 0.975)),
        (7, 2.364624),
        (8, 2.306004),
        (9, 2.262157),
        (19, 2.093024),
        (99, 1.984217),
        (1e5, 1.959988),
    ],
)
def test_students_quantiles_are_those_of_the_tables(degrees: float, quantile: float) -> None:
    assert students_quantile(degrees, 0.975) == pytest.approx(quantile, abs=1e-4)


@pytest.mark.parametrize(
    ("num_groups", "first_times", "correlation", "rate"),
    [
        (8, 1, 0.1, 0.4),
        (8, 1, 0.3, 0.1),
        (12, 1, 0.3, 0.9),
        (12, 8, 0.3, 0.4),
        (50, 1, 0.3, 0.4),
    ],
)
def test_the_interval_over_groups_holds_the_truth_as_often_as_it_says(
    num_groups: int, first_times: int, correlation: float, rate: float
) -> None:
    corpus = Corpus(num_groups, correlation=correlation, rate=rate, first_times=first_times)
    # 0.93 to 0.97, and two standard errors of 1,000 corpora above
    assert 0.93 <= coverage(corpus, share_interval, num_sweeps=1000) <= 0.981
    assert coverage(corpus, wilson, num_sweeps=1000) < 0.93, "it takes queries for independent"


def test_equal_groups_of_equal_queries_are_so_many_independent_values() -> None:
    shares = [0.0, 0.25, 0.5, 0.5, 0.75, 1.0, 0.25, 0.5, 1.0]
    values = [float(place < 4 * share) for share in shares for place in range(4)]
    groups = [f"g{number}" for number in range(len(shares)) for _ in range(4)]
    found = group_interval(values, groups)
    half = 2.306 * statistics.stdev(shares) / 3  # the table's value for 8 degrees of freedom
    mean = statistics.fmean(shares)
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx(
        (mean, mean - half, mean + half), abs=1e-4
    )


@pytest.mark.parametrize(("value", "low", "high"), [(1.0, 0.7225, 1.0), (0.0, 0.0, 0.2775)])
def test_groups_that_all_agree_leave_the_room_of_so_many_hits_in_a_row(
    value: float, low: float, high: float
) -> None:
    groups = [f"g{number % 10}" for number in range(50)]
    found = group_interval([value] * 50, groups, least=0.0, most=1.0)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)


def test_groups_of_unequal_size_are_worth_fewer() -> None:
    assert group_degrees([5] * 9) == pytest.approx(8)
    # Bell and McCaffrey's by matrices: the squared trace of what the squared residuals estimate,
    # over the sum of its squares
    sizes = np.array([1.0, 2, 3, 40, 5, 6, 7, 8])
    share = sizes / sizes.sum()
    centring = np.eye(8) - np.outer(share, np.ones(8))
    covariance = centring @ np.diag(sizes) @ centring.T
    scale = np.sqrt(1 / (1 - share))
    estimated = covariance * np.outer(scale, scale)
    degrees = np.trace(estimated) ** 2 / (estimated**2).sum()
    assert group_degrees(sizes.tolist()) == pytest.approx(degrees)
    assert degrees < 3
    assert group_degrees([10**6, *[1] * 7]) == pytest.approx(1, abs=1e-3), "the least"


def test_one_group_with_nearly_all_videos_decides_little() -> None:
    groups = ["a"] * 400 + [f"b{number % 10}" for number in range(40)]
    hits = [float(number % 2) for number in range(400)] + [1.0, 0.0, 0.0, 0.0] * 10
    found = share_interval(hits, groups)
    differences = group_interval(hits, groups, least=0.0, most=1.0)
    assert found is not None and differences is not None
    assert found.high - found.low > 0.5 and differences.high - differences.low > 0.4


def test_groups_of_which_each_hits_half_leave_room() -> None:
    found = share_interval([1.0, 0.0] * 8, [f"g{number // 2}" for number in range(16)])
    assert found is not None and found.high - found.low > 0.3


def test_few_groups_have_no_interval() -> None:
    groups = [f"g{number % 7}" for number in range(70)]
    assert group_interval([1.0] * 70, groups) is None
    assert share_interval([1.0] * 70, groups) is None
    assert share_metrics("recall", [1.0] * 70, groups) == {"recall": 1.0}


@pytest.mark.parametrize("hits", [[1.0] * 40, [0.0] * 40, [1.0] + [0.0] * 39])
def test_the_interval_of_a_share_lies_in_0_to_1_and_has_room(hits: list[float]) -> None:
    groups = [f"g{number % 8}" for number in range(40)]
    found = share_metrics("recall", hits, groups)
    interval = metric_interval(found, "recall")
    assert interval is not None
    assert 0 <= interval.low <= interval.value <= interval.high <= 1
    assert interval.high - interval.low > 0.1
