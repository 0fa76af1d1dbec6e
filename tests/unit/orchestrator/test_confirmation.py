"""Confirming: who is asked again, with which seeds, and what the answers say."""

from __future__ import annotations

import json
import statistics

import pytest

from orchestrator.config.confirm_config import ConfirmConfig
from orchestrator.confirmation import (
    Candidate,
    Comparison,
    ConfirmedRun,
    best_trials,
    candidates_of,
    compare_candidates,
    confirm_seeds,
    decide,
    mean_interval,
    paired_differences,
    runs_to_do,
)
from prp_core.errors import UserError
from prp_core.evaluation.intervals import Interval

APART, TOUCHING = Interval(0.1, 0.05, 0.15), Interval(0.1, -0.01, 0.2)


def candidate(trial: int, mean: float) -> Candidate:
    return Candidate(trial, (8, 9), (mean - 0.01, mean + 0.01), mean - 0.1, mean + 0.1)


@pytest.mark.parametrize(
    ("tree", "text"),
    [
        ({"num_candidates": 1}, "0 \\(off\\) or at least 2"),
        ({"num_seeds": 1}, "at least 2: an interval"),
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


@pytest.mark.parametrize(
    ("over_seeds", "over_groups", "outcome", "taken"),
    [
        (APART, APART, "winner", 4),
        (APART, TOUCHING, "tie", 2),  # only with these scenes
        (TOUCHING, APART, "tie", 2),  # only with these seeds
        (TOUCHING, TOUCHING, "tie", 2),
    ],
)
def test_a_winner_is_named_only_when_seeds_and_scenes_both_say_so(
    over_seeds: Interval, over_groups: Interval, outcome: str, taken: int
) -> None:
    found = decide(
        [candidate(2, 0.5), candidate(4, 0.6)],
        [Comparison(2, over_seeds, over_groups)],
        {2: 1.0, 4: 3.0},
    )
    assert (found.outcome, found.taken) == (outcome, taken)
    assert [one.trial for one in found.candidates] == [4, 2], "best first"


@pytest.mark.parametrize(
    ("costs", "taken"),
    [({2: 3.0, 4: 1.0, 6: 0.1}, 4), ({2: 1.0, 4: 1.0, 6: 0.1}, 2), ({4: 5.0}, 4), ({}, 2)],
    ids=["cheapest", "equal", "one", "none"],
)
def test_of_those_that_cannot_be_told_apart_the_cheapest_is_taken(costs: dict, taken: int) -> None:
    comparisons = [
        Comparison(2, TOUCHING, APART),
        Comparison(6, APART, APART),
    ]  # trial 6 is cheap, and beaten
    found = decide([candidate(2, 0.55), candidate(4, 0.6), candidate(6, 0.2)], comparisons, costs)
    assert found.outcome == "tie"
    assert found.tied == (4, 2)
    assert found.taken == taken
    assert (
        f"taken is trial {taken}, the cheapest of them to train" in found.text
        and "trials 4, 2 cannot be told apart" in found.text
    )


def test_the_note_has_what_a_report_reads() -> None:
    found = decide([candidate(2, 0.5), candidate(4, 0.6)], [Comparison(2, APART, APART)], {})
    note = json.loads(json.dumps(found.as_json()))
    assert note["candidates"][0] == {
        "trial": 4,
        "seeds": [8, 9],
        "recall_at_1": [0.59, 0.61],
        "low": 0.5,
        "high": 0.7,
    }
    assert note["outcome"] == "winner" and note["taken"] == 4 and "trial 4 wins" in note["text"]


def run(trial: int, seed: int, hits: str) -> ConfirmedRun:
    known = [int(mark) for mark in hits if mark != "-"]
    return ConfirmedRun(trial=trial, seed=seed, recall_at_1=sum(known) / len(known), hits=hits)


def test_pairs_are_of_the_same_seed_and_the_same_query() -> None:
    best, other = (
        [run(4, 8, "111-"), run(4, 9, "1100")],
        [run(2, 9, "1000"), run(2, 8, "0011"), run(2, 10, "0000")],
    )
    by_seed, by_query, groups = paired_differences(best, other, ["a", "a", "b", "c"])
    assert by_seed == [pytest.approx(1.0 - 0.5), pytest.approx(0.5 - 0.25)]
    assert by_query == [0.5, 1.0, 0.0], "a query that one run could not read is asked of none"
    assert groups == ["a", "a", "b"]


def groups_of(number: int) -> dict[str, str]:
    """The groups of so many queries, two of each scene."""
    return {f"q{place:03d}": f"g{place // 2}" for place in range(number)}


def test_the_outcome_from_runs_to_words() -> None:
    good, bad = "1" * 36 + "0" * 4, "0" * 30 + "1" * 10
    runs = [
        run(4, 8, good),
        run(4, 9, good[1:] + "0"),
        run(4, 10, good),
        run(2, 8, bad),
        run(2, 9, bad),
        run(2, 10, bad[1:] + "0"),
    ]
    found = compare_candidates([4, 2], [8, 9, 10], runs, group_of=groups_of(40), costs={})
    assert found is not None
    assert (found.outcome, found.taken) == ("winner", 4)
    same = compare_candidates(
        [4, 2],
        [8, 9, 10],
        [run(trial, seed, good) for trial in (4, 2) for seed in (8, 9, 10)],
        group_of=groups_of(40),
        costs={2: 1.0, 4: 2.0},
    )
    assert same is not None
    assert (same.outcome, same.taken) == ("tie", 2)


def test_a_candidate_of_which_a_run_is_missing_does_not_count() -> None:
    runs = [run(trial, seed, "1100") for trial in (4, 2, 6) for seed in (8, 9)]
    rest = {"group_of": groups_of(4), "costs": {}}
    found = compare_candidates([4, 2, 6], [8, 9], runs[1:], **rest)
    assert found is not None and sorted(one.trial for one in found.candidates) == [2, 6]
    assert compare_candidates([4, 2], [8, 9], runs[1:], **rest) is None


def test_too_few_scenes_decide_nothing() -> None:
    good, bad = "1" * 14, "0" * 14
    runs = [run(trial, seed, hits) for trial, hits in ((4, good), (2, bad)) for seed in (8, 9)]
    found = compare_candidates([4, 2], [8, 9], runs, group_of=groups_of(14), costs={2: 1.0, 4: 2.0})
    assert found is not None
    assert (found.outcome, found.taken) == ("tie", 2), "seven scenes"
    assert "fewer than the 8 scenes that an interval over scenes needs" in found.text


def test_no_bound_of_a_recall_lies_beyond_its_range() -> None:
    runs = [
        run(4, 8, "1" * 40),
        run(4, 9, "1" * 36 + "0" * 4),
        run(2, 8, "0" * 40),
        run(2, 9, "1" * 4 + "0" * 36),
    ]
    found = compare_candidates([4, 2], [8, 9], runs, group_of=groups_of(40), costs={})
    assert found is not None
    assert [(one.low >= 0, one.high <= 1) for one in found.candidates] == [(True, True)] * 2


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
