"""The replay runs the real study and the real pruner on a grid, and its costs add up."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from benchmarks.search.comparison import (
    best_scores,
    compare,
    cost_to_keep,
    median_at,
    score_above,
    searches,
    value_at,
    worth_of_the_best,
)
from benchmarks.search.grid import (
    Cell,
    cells_to_record,
    mean_of,
    read_grid,
    read_grids,
    synthetic_grid,
    write_cell,
)
from benchmarks.search.replay import main, print_pruners
from benchmarks.search.search_replay import Reached, Replay, Rules, random_search
from orchestrator.search.decided_trials import DECISION
from orchestrator.search.query_hits import HITS
from orchestrator.search.study import SweepStudy
from prp_core.evaluation.intervals import Interval

RATES = "pretext.playback_rate.rates"
GOOD, BAD = {1: 0.5, 2: 0.7, 4: 0.9}, {1: 0.1, 2: 0.1, 4: 0.1}
COSTS = {1: 10.0, 2: 20.0, 4: 40.0}
SMALL = [
    Cell({RATES: rates}, GOOD if rates == "1-3" else BAD, COSTS)
    for rates in ("1-2", "1-3", "1-4", "1-8")
]


@pytest.mark.parametrize("seed", range(3))
def test_the_replay_holds_what_the_real_study_and_pruner_decided(seed: int) -> None:
    replay = Replay(SMALL, Rules(first_rung_epochs=0, num_startup=4, num_workers=1), seed=seed)
    replay.run(1e9)
    assert isinstance(replay.study, SweepStudy)
    trials = {
        trial.params[RATES]: trial for trial in replay.study.trials() if trial.intermediate_values
    }
    assert set(trials) == {"1-2", "1-3", "1-4", "1-8"}
    assert trials["1-3"].state.name == "COMPLETE" and trials["1-3"].intermediate_values == GOOD
    for trial in trials.values():
        decisions = {
            int(name.removeprefix(DECISION)): note
            for name, note in trial.user_attrs.items()
            if name.startswith(DECISION)
        }
        assert set(decisions) == set(trial.intermediate_values), "each rung was decided once"
        assert ("false" in decisions[max(decisions)]) is (trial.state.name == "PRUNED")
    assert max(one.score for one in replay.reached) == 0.9
    assert replay.spent == pytest.approx(
        sum(COSTS[max(trial.intermediate_values)] for trial in trials.values())
    )


def test_a_pruner_that_compares_queries_is_replayed_with_the_hits_that_were_recorded() -> None:
    with pytest.raises(SystemExit, match="the grid was recorded without hits"):
        Replay(SMALL, Rules(first_rung_epochs=0, pruner="paired"), seed=0)
    rows = {rates: (7 + place) * "1" for place, rates in enumerate(("1-2", "1-4", "1-8", "1-3"))}
    grid = [
        Cell({RATES: rates}, scores, COSTS, hits=dict.fromkeys(COSTS, row.ljust(40, "0")))
        for rates, row in rows.items()
        for scores in [dict.fromkeys(COSTS, len(row) / 40)]
    ]
    for pruner in ("asha", "paired"):
        rules = Rules(first_rung_epochs=0, pruner=pruner, standard_errors=9.0)
        replay = Replay(grid, rules, seed=0)
        assert (len(replay.run(1e9)) == len(grid)) is (pruner == "paired"), "nobody is told worse"
        notes = [trial.user_attrs.keys() for trial in replay.study.trials()]
        has_hits = [any(name.startswith(HITS) for name in names) for names in notes]
        assert all(has_hits) if pruner == "paired" else not any(has_hits)


def test_a_search_is_compared_with_the_same_one_with_another_pruner(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rules = Rules(first_rung_epochs=0)
    print_pruners(SMALL, rules, "none", num_seeds=4, numbers=[1, 4])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0].split() for line in lines] == [
        ["1", "trainings"],
        ["4", "trainings"],
    ]
    assert "best score 0.900, above none by +0.000 [+0.000, +0.000]" in lines[1]
    early = [[(1.0, 0.5), (2.0, 0.7)]] * 3
    late = [[(3.0, 0.6)]] * 3
    assert score_above(early, late, 2.0) == Interval(*[pytest.approx(0.7)] * 3)
    assert score_above(early, late, 3.0) == Interval(*[pytest.approx(0.1)] * 3)


def test_a_running_trial_that_is_overtaken_costs_what_it_trained() -> None:
    slow = [
        Cell({RATES: "1-2"}, BAD, COSTS),
        Cell({RATES: "1-3"}, GOOD, {1: 15.0, 2: 30.0, 4: 60.0}),
    ]
    replay = Replay(slow, Rules(first_rung_epochs=0, num_startup=2, num_workers=2), seed=0)
    replay.run(1e9)
    bad = next(
        trial
        for trial in replay.study.trials()
        if trial.params[RATES] == "1-2" and trial.intermediate_values
    )
    assert (bad.state.name, bad.intermediate_values) == ("PRUNED", {1: 0.1}), (
        "it arrived first, and was stopped at 15 on its way to 20"
    )
    assert replay.spent == 60.0 + 15.0


def test_random_search_trains_every_cell_once_to_its_end() -> None:
    reached = random_search(SMALL, seed=3)
    assert [one.cost for one in reached] == [40.0, 80.0, 120.0, 160.0]
    assert sorted(one.score for one in reached) == [0.1, 0.1, 0.1, 0.9]


def test_what_a_search_has_to_show_at_a_cost() -> None:
    run = [Reached(10, 0.3, 0), Reached(20, 0.5, 1), Reached(30, 0.4, 2)]
    assert best_scores(run) == [(10, 0.3), (20, 0.5), (30, 0.5)]
    worth = worth_of_the_best(run, [0.35, 0.32, 0.4])
    assert worth == [(10, 0.35), (20, 0.32), (30, 0.32)], "the second was lucky, and leads"
    assert [value_at(worth, cost) for cost in (5, 10, 25, 99)] == [-math.inf, 0.35, 0.32, 0.32]


def test_a_value_is_had_from_where_the_median_keeps_it() -> None:
    curves = [[(10.0, 0.5)], [(20.0, 0.5)], [(30.0, 0.5)]]
    assert median_at(curves, 20) == 0.5
    assert [cost_to_keep(curves, 0.5, budget) for budget in (15, 20, 99)] == [math.inf, 20, 20]
    assert cost_to_keep([[(10.0, 0.5), (20.0, 0.3), (30.0, 0.6)]], 0.5, 99) == 30


def test_where_one_cell_in_24_is_good_the_search_is_cheaper_than_chance() -> None:
    costs = {1: 1.0, 3: 3.0, 9: 9.0}
    grid = [
        Cell(
            {RATES: f"1-{rate}", "clip.length": length},
            dict.fromkeys(costs, 0.9 if (rate, length) == (4, 16) else 0.1 + rate / 100),
            costs,
        )
        for rate in range(2, 10)
        for length in (8, 16, 24)
    ]
    chance, ours, cost = searches(
        lambda _: grid, Rules(first_rung_epochs=0, reduction_factor=3), range(4), 24
    )
    few, all_of_them = compare(
        [best_scores(run) for run in chance], [best_scores(run) for run in ours], cost, [2, 24]
    )
    assert (all_of_them.number, all_of_them.found, all_of_them.budget) == (24, 0.9, 24 * 9.0)
    assert (
        all_of_them.cost < 0.7 * all_of_them.budget
        and all_of_them.for_all == 0.9 >= all_of_them.for_a_third
    )
    assert few.found < 0.3


def test_made_up_grids_are_the_same_for_a_seed_and_have_every_rung() -> None:
    assert synthetic_grid(0) == synthetic_grid(0) != synthetic_grid(1)
    assert all(
        set(cell.scores) == set(cell.costs) == {3, 6, 12} and cell.cost > 0
        for cell in synthetic_grid(0)
    )


def test_a_grid_is_read_back_and_a_torn_line_is_not(tmp_path: Path) -> None:
    for cell in SMALL[:2]:
        write_cell(tmp_path / "grid.jsonl", cell)
    with (tmp_path / "grid.jsonl").open("a") as file:
        file.write('{"values": {"pretext')
    assert read_grid(tmp_path / "grid.jsonl") == SMALL[:2]
    assert (
        len(cells_to_record()) == 36
        and len(cells_to_record([1e-4, 1e-3])) == 72
        and read_grid(tmp_path / "none.jsonl") == []
    )


def test_a_cell_that_is_evaluated_less_often_costs_less() -> None:
    cell = Cell({RATES: "1-2"}, {1: 0.1, 2: 0.2, 4: 0.3}, {1: 3.0, 2: 6.0, 4: 11.0}, evaluation=1.0)
    assert cell.at((1, 2, 4)) == cell
    assert cell.at((2, 4)) == Cell({RATES: "1-2"}, {2: 0.2, 4: 0.3}, {2: 5.0, 4: 10.0}, 1.0)
    assert cell.at((4,)).cost == 9.0


def test_rungs_that_were_not_recorded_are_refused() -> None:
    assert Rules(first_rung_epochs=1, reduction_factor=4).rungs(SMALL) == (1, 4)
    with pytest.raises(SystemExit, match="not evaluated after epoch 3, only after 1, 2, 4"):
        Rules(first_rung_epochs=3).rungs(SMALL)


def test_grids_of_several_seeds_become_one_of_means_that_costs_them_all() -> None:
    one = [
        Cell({RATES: "1-2"}, {1: 0.1, 2: 0.2}, {1: 3.0, 2: 6.0}, 1.0),
        Cell({RATES: "1-4"}, {1: 0.1, 2: 0.9}, {1: 3.0, 2: 6.0}, 1.0),
    ]
    other = [Cell({RATES: "1-2"}, {2: 0.4}, {2: 5.0}, 1.0)]
    assert mean_of([one, other]) == [Cell({RATES: "1-2"}, {2: pytest.approx(0.3)}, {2: 10.0}, 2.0)]
    assert mean_of([one]) == one
    with pytest.raises(ValueError, match="in common"):
        mean_of([one[1:], other])


def test_a_file_without_cells_and_more_trials_than_cells_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match=r"none\.jsonl holds no recorded cell"):
        read_grids([tmp_path / "none.jsonl"])
    write_cell(tmp_path / "grid.jsonl", SMALL[0])
    for words, message in (
        ([], "--grid"),
        (["--grid", str(tmp_path / "grid.jsonl")], "the grid has 1 cells"),
    ):
        monkeypatch.setattr("sys.argv", ["replay", *words])
        with pytest.raises(SystemExit):
            main()
        assert message in capsys.readouterr().err
