"""Confirming: who is asked again, with which seeds, and what the runs show."""

from __future__ import annotations

import dataclasses
import json
import random
import re
import statistics
from collections.abc import Sequence

import pytest

from orchestrator.comparison import Assessment, assess, baseline_verdicts
from orchestrator.config.confirm_config import ConfirmConfig
from orchestrator.confirmation import (
    BaselineVerdict,
    ConfirmedRun,
    Rules,
    best_trials,
    candidates_of,
    confirm_seeds,
    error_levels,
    looks_of,
    mean_interval,
    read_verdicts,
    runs_to_do,
)
from orchestrator.run_model import Difference, Luck
from prp_core.errors import UserError


@pytest.mark.parametrize(
    ("tree", "text"),
    [
        ({"num_candidates": 1}, "0 \\(off\\) or at least 2"),
        ({"num_seeds": 1}, "at least 2: an interval"),
        ({"margin": 1.0}, "from 0 to less than 1"),
    ],
)
def test_what_cannot_be_compared_is_refused(tree: dict, text: str) -> None:
    with pytest.raises(UserError, match=text):
        ConfirmConfig(**tree)


def test_the_best_are_asked_again_with_seeds_that_the_search_never_used() -> None:
    assert best_trials({0: 0.5, 1: 0.7, 2: 0.7, 3: 0.1}, 3) == [1, 2, 0]
    assert best_trials({}, 3) == []


@pytest.mark.parametrize(
    ("rates", "number", "expected"),
    [
        ("aaab", 3, [1, 2, 3]),  # all of one rate set: the last gives way to the best of another
        ("aaab", 2, [1, 3]),
        ("aaaa", 3, [1, 2, 0]),
        ("baaa", 3, [1, 2, 0]),  # there are two already
        ("aaab", 1, [1]),
        ("aaab", 9, [1, 2, 0, 3]),
    ],
)
def test_candidates_can_tell_rate_sets_apart(rates: str, number: int, expected: list[int]) -> None:
    assert (
        candidates_of({0: 0.5, 1: 0.7, 2: 0.7, 3: 0.1}, number, dict(enumerate(rates))) == expected
    )
    assert candidates_of({}, number, {}) == []
    assert confirm_seeds(632, 3) == [633, 634, 635]


@pytest.mark.parametrize(
    ("done", "left"),
    [
        ({}, [(4, 8), (2, 8), (4, 9), (2, 9)]),
        ({(4, 8): "x", (2, 9): "x"}, [(2, 8), (4, 9)]),
        ({(4, 8): "", (2, 8): "", (4, 9): "", (2, 9): "", (7, 8): ""}, []),
    ],
)
def test_what_is_done_is_not_done_again(done: dict, left: list) -> None:
    assert runs_to_do([4, 2], [8, 9], done) == left


def run(trial: int, seed: int, hits: str) -> ConfirmedRun:
    known = [int(mark) for mark in hits if mark != "-"]
    return ConfirmedRun(trial=trial, seed=seed, recall_at_1=sum(known) / len(known), hits=hits)


def groups_of(number: int) -> dict[str, str]:
    """The groups of so many queries, two of each scene."""
    return {f"q{place:03d}": f"g{place // 2}" for place in range(number)}


def rows(share: float, seed: int, number: int = 80) -> str:
    """Marks of `number` queries, about `share` of them hits."""
    draw = random.Random(seed)
    return "".join(str(int(draw.random() < share)) for _ in range(number))


def runs_of(shares: dict[int, float], seeds: Sequence[int]) -> list[ConfirmedRun]:
    return [
        run(trial, seed, rows(share, 100 * trial + seed))
        for trial, share in shares.items()
        for seed in seeds
    ]


def assessed(
    runs: list[ConfirmedRun], trials: Sequence[int], rules: Rules, **changes: object
) -> Assessment:
    known = {"group_of": groups_of(80), "costs": {2: 1.0, 4: 3.0}, **changes}
    failed = known.pop("failed", {})
    return assess(trials, 7, runs, failed, rules, **known)


TWO_LOOKS = Rules(looks=(2, 4), margin=0.02)


def test_a_clear_winner_ends_it_at_the_first_look() -> None:
    found = assessed(runs_of({2: 0.2, 4: 0.9}, (8, 9)), [4, 2], TWO_LOOKS)
    assert not found.wanted and found.confirmation is not None
    confirmation = found.confirmation
    assert (confirmation.outcome, confirmation.taken, confirmation.tied) == ("winner", 4, ())
    best = confirmation.candidates[0]
    assert best.trial == 4 and best.prob_best is not None and best.prob_best > 0.99
    assert best.expected_loss == pytest.approx(0.0, abs=2e-3)
    assert "trial 4 wins" in confirmation.text and "on 2 new seeds" in confirmation.text
    note = json.loads(json.dumps(confirmation.as_json()))
    assert note["candidates"][0]["trial"] == 4 and note["outcome"] == "winner"


def test_the_undecided_get_twice_the_seeds_and_the_beaten_none() -> None:
    shares = {2: 0.59, 4: 0.6, 6: 0.02}
    found = assessed(runs_of(shares, (8, 9)), [4, 2, 6], TWO_LOOKS)
    assert found.confirmation is not None and not found.confirmation.is_decided
    assert set(found.wanted) == {(4, 10), (2, 10), (4, 11), (2, 11)}, "6 is beaten"
    more = runs_of(shares, (8, 9)) + runs_of({2: 0.59, 4: 0.6}, (10, 11))
    again = assessed(more, [4, 2, 6], TWO_LOOKS)
    assert again.confirmation is not None and not again.wanted, "no look is left"
    assert again.confirmation.outcome == "tie" and set(again.confirmation.tied) == {2, 4}
    assert len(again.confirmation.candidates[0].seeds) == 4


def test_the_cheapest_is_taken_within_the_margin_only() -> None:
    runs = runs_of({2: 0.55, 4: 0.62}, (8, 9))
    best = max((2, 4), key=lambda trial: sum(one.recall_at_1 for one in runs if one.trial == trial))
    cheap = {best: 3.0, 6 - best: 1.0}
    for margin, taken in ((0.0, best), (0.5, 6 - best)):
        found = assessed(runs, [4, 2], Rules(looks=(2,), margin=margin), costs=cheap)
        assert found.confirmation is not None
        assert (found.confirmation.outcome, found.confirmation.taken) == ("tie", taken)
        assert f"the margin of {margin:g}" in found.confirmation.text


def test_equal_hits_say_no_more_than_their_queries_can() -> None:
    for mark in "01":
        runs = [run(trial, seed, mark * 80) for trial in (2, 4) for seed in (8, 9)]
        found = assessed(runs, [2, 4], TWO_LOOKS).confirmation
        assert found is not None and found.outcome == "tie"
        # the cheapest is the first of them: no expected loss of a cheaper one decided that
        assert found.taken == 2 and "none of them was cheaper to train" in found.text
        bounds = re.search(r"by \+0.000 \[-(0.\d+), \+(0.\d+)\]", found.text)
        assert bounds and float(bounds[1]) == float(bounds[2]) > 2 / 80, found.text
        best = found.candidates[0]
        assert best.low is not None and best.high is not None and best.high - best.low > 0.03


def test_candidates_are_compared_by_the_queries_that_every_run_read() -> None:
    rows = {2: "-" * 40 + "1" * 40, 4: "1" * 60 + "0" * 20}
    runs = [run(trial, seed, row) for trial, row in rows.items() for seed in (8, 9)]
    found = assessed(runs, [2, 4], TWO_LOOKS).confirmation
    assert found is not None
    assert [(one.trial, round(one.mean, 9)) for one in found.candidates] == [(2, 1.0), (4, 0.5)]


def test_a_trial_with_a_failed_run_is_no_candidate_and_runs_that_lack_are_asked_for() -> None:
    runs = runs_of({2: 0.5, 4: 0.5, 6: 0.5}, (8, 9))[1:]
    assert assessed(runs, [2, 4, 6], TWO_LOOKS).wanted == ((2, 8),)
    found = assessed(runs, [2, 4, 6], TWO_LOOKS, failed={(2, 8): "lost"})
    assert found.confirmation is not None
    assert sorted(one.trial for one in found.confirmation.candidates) == [4, 6]
    alone = assessed(runs[:3], [2, 4], TWO_LOOKS, failed={(2, 8): "lost"})
    assert alone.confirmation is None and not alone.wanted


def test_too_few_scenes_decide_nothing_and_ask_for_no_more_seeds() -> None:
    good, bad = "1" * 14, "0" * 14
    runs = [run(trial, seed, hits) for trial, hits in ((4, good), (2, bad)) for seed in (8, 9)]
    found = assessed(runs, [4, 2], TWO_LOOKS, group_of=groups_of(14))
    assert found.confirmation is not None and not found.wanted
    assert (found.confirmation.outcome, found.confirmation.taken) == ("tie", 4)
    assert "fewer than the 8 scenes that an interval needs" in found.confirmation.text
    assert found.confirmation.candidates[0].low is None


def test_the_levels_of_the_looks_add_up_to_the_error() -> None:
    assert looks_of(3, 6) == (3, 6) and looks_of(3, 0) == (3,) and looks_of(2, 7) == (2, 4, 7)
    assert error_levels((3,)) == [pytest.approx(0.05)]
    levels = error_levels((3, 6))
    assert sum(levels) == pytest.approx(0.05) and levels[0] == pytest.approx(0.00557, abs=1e-4)


def with_baselines(trained: str, untrained: str, pixels: str, seed: int) -> ConfirmedRun:
    return dataclasses.replace(
        run(4, seed, trained), baselines={"mean_frame": pixels, "random_init": untrained}
    )


def test_what_was_taken_is_better_worse_or_not_told_apart_from_each_baseline() -> None:
    runs = [
        with_baselines(rows(0.5, seed), rows(0.1, seed + 50), rows(0.95, 1), seed)
        for seed in (8, 9, 10)
    ]
    groups = list(groups_of(80).values())
    random_init, pixels = baseline_verdicts(runs, groups, luck=Luck(0.001, 4), taken_of=1)
    assert (random_init.name, random_init.difference.verdict) == ("random_init", "better than")
    assert (pixels.name, pixels.difference.verdict) == ("mean_frame", "worse than")
    assert pixels.difference.confidence == pytest.approx(1 - 0.05 / 3)
    selected = baseline_verdicts(runs, groups, luck=Luck(0.001, 4), taken_of=1, selected_of=500)[0]
    assert selected.difference.low < random_init.difference.low, "the best of 500"
    taken = baseline_verdicts(runs, groups, luck=Luck(0.001, 4), taken_of=3)
    assert taken[0].difference.low < random_init.difference.low, "the best of 3 by these seeds"
    few = baseline_verdicts(
        runs, [f"g{place % 7}" for place in range(80)], luck=Luck(0.001, 4), taken_of=1
    )
    assert [one.difference.verdict for one in few] == ["not comparable with"] * 2
    assert baseline_verdicts([run(4, 8, "10")], ["a", "b"], luck=Luck(), taken_of=1) == ()


def test_the_luck_of_training_is_carried_to_other_queries() -> None:
    on_few = Luck(squares=0.05, degrees=10, of_queries=0.04)
    on_many = Luck(squares=0.004, degrees=5, of_queries=0.001)
    carried = on_few.beside(on_many)
    assert (carried.squares, carried.degrees) == (pytest.approx(0.05 - 0.04 + 0.002), 10)
    assert on_few.beside(Luck()) == on_few, "one run says nothing about its queries"
    lucky = Luck(squares=0.01, degrees=10, of_queries=0.04).beside(on_many)
    assert lucky.squares == pytest.approx(0.002), "no less than the queries alone"


def test_verdicts_are_read_back_from_their_note() -> None:
    verdict = BaselineVerdict(
        name="random_init", recall=0.2, difference=Difference(value=0.1, low=0.05, high=0.15)
    )
    assert read_verdicts(json.loads(json.dumps([verdict.as_json()]))) == (verdict,)


def test_no_bound_of_a_recall_lies_beyond_its_range() -> None:
    runs = [
        run(4, 8, "1" * 40),
        run(4, 9, "1" * 36 + "0" * 4),
        run(2, 8, "0" * 40),
        run(2, 9, "1" * 4 + "0" * 36),
    ]
    found = assessed(runs, [4, 2], Rules(looks=(2,)), group_of=groups_of(40)).confirmation
    assert found is not None
    assert all(one.low >= 0 and one.high <= 1 for one in found.candidates)
    same = [run(trial, seed, "1" * 40) for trial in (4, 2) for seed in (8, 9)]
    equal = assessed(same, [4, 2], Rules(looks=(2,)), group_of=groups_of(40)).confirmation
    assert equal is not None and equal.outcome == "tie"


@pytest.mark.parametrize(
    ("number", "quantile"),
    [(2, 12.7062), (3, 4.3027), (4, 3.1824), (5, 2.7764), (10, 2.2622), (31, 2.0423)],
)
def test_the_interval_of_a_mean_is_students(number: int, quantile: float) -> None:
    values = [0.5 + 0.1 * place for place in range(number)]
    interval = mean_interval(values)
    half = quantile * statistics.stdev(values) / number**0.5
    mean = statistics.fmean(values)
    assert (interval.value, interval.low, interval.high) == pytest.approx(
        (mean, mean - half, mean + half), rel=1e-4
    )
    cut = mean_interval(values, least=0.45, most=mean + half / 2)
    assert (cut.low, cut.high) == pytest.approx((max(0.45, mean - half), mean + half / 2), rel=1e-4)


def test_a_wider_interval_at_a_higher_confidence() -> None:
    values = [0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    interval = mean_interval(values, confidence=0.9)
    half = 2.0150 * statistics.stdev(values) / 6**0.5  # the table's 0.95 quantile of 5 degrees
    assert interval.high - interval.value == pytest.approx(half, rel=1e-4)
    assert mean_interval(values, confidence=0.99).high > interval.high
