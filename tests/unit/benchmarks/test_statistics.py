"""Verdicts on simulated sweeps by the product's own functions: the benchmark's short version."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import pytest

from benchmarks.statistics.__main__ import (
    KINDS,
    RATES,
    SHAPES,
    WORLDS,
    print_corpora,
    print_coverage,
)
from benchmarks.statistics.coverage import METHODS, Corpus, coverage, share_held
from benchmarks.statistics.rates import GAIN, RIGHT, WRONG, coverage_rates, verdict_rates
from benchmarks.statistics.simulated_sweep import World, centre_of, mean_of

FEW = World(num_videos=48, num_groups=12, num_trials=12, looks=(3,))


def test_what_nothing_distinguishes_is_rarely_told_apart() -> None:
    rates = verdict_rates(FEW, 60, gain=0.0, pretraining=0.0)
    named = rates[RIGHT[0]] + rates[WRONG[0]]
    claimed = rates[RIGHT[2]] + rates[WRONG[1]]
    assert named <= 0.12 and claimed <= 0.12, rates
    assert rates[RIGHT[3]] <= 0.12 and rates[WRONG[3]] == 0.0, rates


def test_a_true_gain_is_seen_more_often_than_not() -> None:
    rates = verdict_rates(FEW, 40, gain=0.0, pretraining=2 * GAIN)
    assert rates[RIGHT[2]] > 0.5 and rates[WRONG[1]] == 0.0, rates


def test_printed_intervals_hold_the_truth() -> None:
    shares = coverage_rates(FEW, 100)
    assert len(shares) == 4
    assert all(share >= 0.88 for share in shares.values()), shares


def test_intervals_over_very_unequal_groups_hold_the_truth() -> None:
    # as for independent queries 0.86 or 0.87 each, 0.91 to 0.93 as they are
    shares = coverage_rates(World(num_videos=300, num_groups=11, first_times=50), 150)
    assert len(shares) == 4 and all(share >= 0.9 for share in shares.values()), shares


def test_one_group_decides_nothing() -> None:
    one = World(num_videos=48, num_groups=1, num_trials=6, looks=(2,))
    rates = verdict_rates(one, 5, gain=GAIN, pretraining=GAIN)
    assert [rates[name] for name in (RIGHT[0], RIGHT[2], RIGHT[3], *WRONG)] == [0.0] * 7
    assert coverage_rates(one, 3) == {}, "and no interval is printed"


def test_the_true_recall_of_a_world_is_what_it_says() -> None:
    assert mean_of(centre_of(0.4, 1.3), 1.3) == pytest.approx(0.4)


def test_other_processes_find_what_one_finds() -> None:
    figures = [(Corpus(8), "printed", 20), (Corpus(12), "Wilson", 20)]
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert coverage_rates(FEW, 45, pool.map) == coverage_rates(FEW, 45), "and its last few"
        held = list(pool.map(share_held, figures))
    assert held == [coverage(one, METHODS[name], num_sweeps=20) for one, name, _ in figures]


def test_the_tables_have_a_row_for_each_world(capsys: pytest.CaptureFixture[str]) -> None:
    print_coverage(2, map)
    _, _, *rows = cells_of(capsys.readouterr().out)
    assert len(rows) == len({(one.num_videos, one.num_groups) for one in WORLDS})
    assert {len(row) for row in rows} == {1 + len(KINDS)}
    without = {row[0] for row in rows if row[1:] == ["none printed"] * len(KINDS)}
    assert without == {"48, 1"}
    assert {cell for row in rows if row[0] not in without for cell in row[1:]} <= {
        "0.000",
        "0.500",
        "1.000",
    }
    print_corpora(1, map)
    _, _, *rows = cells_of(capsys.readouterr().out)
    assert rows[6][:2] == ["12 (8)", "0.1"]
    assert len(rows) == len(SHAPES) * len(RATES)
    assert {len(row) for row in rows} == {2 + len(METHODS)}


def cells_of(printed: str) -> list[list[str]]:
    """Those of the rows of a printed table."""
    rows = [line for line in printed.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
