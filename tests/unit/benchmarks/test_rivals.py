"""What rivals of the search find for a cost, and how their regret is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.search import paired_pruning
from benchmarks.search.grid import Cell, read_grid, write_cell
from benchmarks.search.paired_pruning import Counts, Trials, pruned
from benchmarks.search.regret import Kept, Row, print_regrets, verdict
from benchmarks.search.rivals import RIVALS, best_of_first_rung, found_at
from benchmarks.search.search_replay import Reached
from prp_core.evaluation.intervals import Interval

RATES = "pretext.playback_rate.rates"
COSTS = {1: 10.0, 2: 20.0, 4: 40.0}
GRID = [
    Cell({RATES: f"1-{rate}"}, {1: 0.1, 2: first, 4: last}, COSTS)
    for rate, first, last in ((2, 0.2, 0.9), (3, 0.4, 0.5), (4, 0.3, 0.6), (8, 0.1, 0.3))
]


def test_a_budget_finds_the_best_that_it_paid_to_the_end() -> None:
    reached = [Reached(10, 0.3, 7), Reached(20, 0.5, 5), Reached(30, 0.4, 2)]
    assert found_at(reached, [9.9, 10, 25, 99]) == [None, 7, 5, 5]


def test_the_k_best_of_n_pay_for_all_first_rungs_and_for_the_ends_of_the_best() -> None:
    # Half of a training costs 20: of all four two are kept, (4 + 2) x 20; of one, itself.
    def found(budget: float, keep: int = 2) -> int | None:
        return best_of_first_rung(GRID, 0, [budget], share=2, keep=keep)[0]

    assert found(39.9) is None
    assert found(120.0) == 2, "places 1 and 2 lead after the first rung, 2 ends better"
    assert found(100.0, keep=4) == 1, "only the leader is trained on"


@pytest.mark.parametrize("name", ["ours", "random", "random, same pruning", "k best of N"])
def test_with_all_the_budget_a_rival_finds_a_cell_and_with_none_nothing(name: str) -> None:
    rival = RIVALS[name]
    for variant in rival.variants[:1]:
        nothing, all_of_it = rival.search(GRID, 1, [1.0, 1000.0], **variant)
        assert nothing is None and all_of_it in range(4)


def test_what_was_found_before_is_not_searched_again(tmp_path: Path) -> None:
    path = tmp_path / "found.jsonl"
    assert Kept(path).found("grid: ours 3", lambda: [None, 2]) == [None, 2]
    assert Kept(path).found("grid: ours 3", lambda: [1, 1]) == [None, 2]
    assert Kept().found("grid: ours 3", lambda: [1, 1]) == [1, 1]


def test_a_regret_is_told_with_its_difference_from_ours() -> None:
    lines: list[str] = []
    row = Row(
        "random", {"share": 2}, (Interval(0.05, 0.04, 0.06),), (Interval(0.02, 0.01, 0.03),), 1.4
    )
    print_regrets([row], [24], lines.append)
    assert lines == [
        "\nrandom (share 2): 1 CPU-seconds",
        "    24 trainings: regret 0.050 [0.040, 0.060]; above ours by +0.020 [+0.010, +0.030]: "
        "ours is better",
    ]
    assert verdict(Interval(-0.02, -0.03, -0.01)) == "ours is worse"
    assert verdict(Interval(0.0, -0.01, 0.01)) == "not told apart"


def test_pairing_prunes_only_what_is_told_worse_query_by_query() -> None:
    hits_TQ = np.zeros((4, 40), dtype=bool)
    for trial, number in enumerate((30, 20, 19, 4)):
        hits_TQ[trial, :number] = True
    trials = Trials(hits_TQ, np.array([0.9, 0.2, 0.8, 0.1]), tuple(map(str, range(40))))
    rules = paired_pruning.RULES
    assert pruned(trials, rules["mean"]) == Counts(2, 1), "one that ends in the better half"
    assert pruned(trials, rules["paired 2"]) == Counts(1, 0)
    assert pruned(trials, rules["margin 0.03"]) == Counts(1, 0)


def test_hits_are_recorded_with_a_cell_and_read_back(tmp_path: Path) -> None:
    cell = Cell({RATES: "1-2"}, {1: 0.5, 2: 0.0}, {1: 3.0, 2: 6.0}, 1.0, {1: "0110", 2: "0000"})
    write_cell(tmp_path / "grid.jsonl", cell)
    assert read_grid(tmp_path / "grid.jsonl") == [cell]
    assert cell.at((2,)).hits == {2: "0000"}
