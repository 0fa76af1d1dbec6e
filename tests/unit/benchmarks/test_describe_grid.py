"""What is said of a grid before anything is searched on it."""

from __future__ import annotations

import math
import statistics

import pytest

from benchmarks.search.describe_grid import additive_fit, levels_of, rank_correlation
from benchmarks.search.grid import Cell
from benchmarks.search.surrogate_grid import GridSurrogate


def grid(interaction: float) -> list[Cell]:
    def score(one: int, other: int) -> float:
        return 0.1 * one + 0.2 * other + interaction * (-1) ** (one + other)

    return [
        Cell({"a": one, "b": other, "same": 1}, {1: 0.0, 2: score(one, other)}, {1: 1.0, 2: 2.0})
        for one in range(4)
        for other in range(3)
    ]


def test_an_additive_grid_is_explained_whole_and_what_is_left_is_measured() -> None:
    assert levels_of(grid(0.0)) == {"a": [0, 1, 2, 3], "b": [0, 1, 2]}
    explained, deviation = additive_fit(grid(0.0))
    assert (explained, deviation) == pytest.approx((1.0, 0.0), abs=1e-12)
    explained, deviation = additive_fit(grid(0.1))
    assert 0.5 < explained < 0.9 and 0.05 < deviation < 0.15


def test_ranks_are_compared_and_ties_share_theirs() -> None:
    assert rank_correlation([1, 2, 3, 4], [1, 10, 100, 1000]) == pytest.approx(1.0)
    assert rank_correlation([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1.0)
    # Ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: 4.5 / sqrt(4.5 * 5).
    assert rank_correlation([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(4.5 / math.sqrt(4.5 * 5))


def test_a_surrogate_keeps_what_values_are_worth_and_draws_luck_anew() -> None:
    recorded = grid(0.02)
    surrogate = GridSurrogate(recorded)
    drawn = [surrogate.drawn(seed) for seed in range(100)]
    assert drawn[1] == surrogate.drawn(1) != drawn[2]
    mean = [
        statistics.mean(cells[place].final for cells in drawn) for place in range(len(recorded))
    ]
    assert mean == pytest.approx(surrogate.worth, abs=0.05), "100 draws of a luck of 0.1"
    assert rank_correlation(surrogate.worth, [cell.final for cell in recorded]) > 0.9
    assert [(cell.values, cell.costs) for cell in drawn[3]] == [
        (cell.values, cell.costs) for cell in recorded
    ]
    assert len({cell.final for cell in drawn[3]}) > len(recorded) / 2
