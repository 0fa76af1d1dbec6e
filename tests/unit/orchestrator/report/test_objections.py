"""What speaks against an encoder: it is worse than no training, or than pixels."""

from __future__ import annotations

import pytest

from orchestrator.confirmation import BaselineVerdict
from orchestrator.report.objections import (
    below_words,
    objection_of_search,
    objection_of_verdicts,
)
from tests.small_sweep import RECALL, verdict, with_bounds

RANDOM, PIXELS = (f"baseline/{name}/{RECALL}" for name in ("random_init", "mean_frame"))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ((verdict("random_init", 0.3), verdict("mean_frame", 0.05)), ""),
        ((verdict("random_init", -0.05), verdict("mean_frame", -0.05)), ""),  # not told apart
        (
            (verdict("random_init", 0.3), verdict("mean_frame", -0.2)),
            "it is worse than pixels' mean frame (-0.200 [-0.300, -0.100])",
        ),
        (
            (verdict("random_init", -0.1, None), verdict("mean_frame", -0.1, None)),
            "its figure is below that of random initialisation (-0.100)",
        ),
        ((), ""),
    ],
)
def test_runs_with_new_seeds_may_object(found: tuple[BaselineVerdict, ...], expected: str) -> None:
    assert objection_of_verdicts(found) == expected


@pytest.mark.parametrize(
    ("metrics", "baselines", "expected"),
    [
        (with_bounds(RECALL, 0.5), with_bounds(RANDOM, 0.3), ""),
        (with_bounds(RECALL, 0.5), with_bounds(RANDOM, 0.55), ""),
        (
            with_bounds(RECALL, 0.5),
            {**with_bounds(RANDOM, 0.9), **with_bounds(PIXELS, 0.8)},
            "it is worse than random initialisation (0.900) and pixels' mean frame (0.800)",
        ),
        (
            {},
            {RANDOM: 0.55, PIXELS: 0.9},
            "its figure is below that of random initialisation (0.550)",
        ),
        ({}, {RANDOM: 0.45, PIXELS: 0.9}, ""),
    ],
)
def test_the_searchs_own_figures_may_object(
    metrics: dict[str, float], baselines: dict[str, float], expected: str
) -> None:
    assert objection_of_search(metrics, 0.5, baselines, RECALL) == expected


def test_what_is_below_a_baseline_is_called_that() -> None:
    assert below_words(0.5, {RANDOM: 0.51, PIXELS: 0.4}, RECALL) == (
        "below random initialisation (0.510)"
    )
    assert below_words(0.6, {RANDOM: 0.51}, RECALL) == ""
