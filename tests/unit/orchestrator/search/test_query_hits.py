"""Trials compared query by query: what is kept of their hits, their difference, the decisions."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.run_model import BROKEN
from orchestrator.search.pruner import PruningRule, decide, decide_late, decide_overtaken
from orchestrator.search.query_hits import NO_QUERIES, Queries, paired_difference
from orchestrator.search.space import Fit
from orchestrator.search.study import SweepStudy
from prp_core.evaluation.intervals import group_interval, students_quantile
from tests.study_databases import study_database

NUM_QUERIES = 40
KEYS = [f"q{number:02d}" for number in range(NUM_QUERIES)]
ALONE = Queries({key: key for key in reversed(KEYS)})
IN_TENS = Queries({key: f"scene {number // 4}" for number, key in enumerate(KEYS)})


def of(marks: str) -> dict[str, bool]:
    """The hits with these marks."""
    return {key: mark == "1" for key, mark in zip(KEYS, marks, strict=True) if mark != BROKEN}


@pytest.mark.parametrize(
    "marks", ["1" * 40, "0" * 40, "10" * 20, "-10" * 13 + "-", "-" * 39 + "1", "011" * 13 + "-"]
)
def test_the_marks_of_a_trial_are_read_back_from_its_note(marks: str) -> None:
    note = ALONE.note(of(marks))
    assert ALONE.marks(note) == marks
    assert len(note) <= 12 + 2 * (1 + NUM_QUERIES // 8 * 2)


def test_hits_of_other_queries_are_kept_nowhere_and_compare_with_nothing() -> None:
    note = ALONE.note(of("10" * 20))
    fewer = Queries({key: key for key in KEYS[1:]})
    assert fewer.note(of("10" * 20)) == "" and fewer.marks(note) == ""
    assert ALONE.note({}) == "" and ALONE.marks("") == "" and NO_QUERIES.marks(note) == ""


def test_the_standard_error_is_that_of_the_paired_differences_over_groups() -> None:
    draw = random.Random(1)
    ahead, behind = ("".join(draw.choice("01") for _ in KEYS) for _ in range(2))
    differences = [float(a) - float(b) for a, b in zip(ahead, behind, strict=True)]
    errors = []
    for queries in (ALONE, IN_TENS):
        groups = [queries.group_of[key] for key in KEYS]
        found = queries.difference(ahead, behind)
        interval = group_interval(differences, groups)
        assert found is not None and interval is not None
        assert found.value == pytest.approx(interval.value)
        quantile = students_quantile(len(set(groups)) - 1, 0.975)
        half = interval.high - interval.value
        # as the interval of a mean, but that groups which all agree leave some error
        assert half / quantile < found.standard_error < 1.01 * half / quantile
        errors.append(found.standard_error)
    assert errors[0] != pytest.approx(errors[1], rel=0.01)


def test_queries_that_one_of_two_could_not_read_count_for_neither() -> None:
    ahead, behind = "1" * 20 + "0" * 20, "10" * 20
    short = paired_difference(ahead[:30], behind[:30], KEYS[:30])
    assert paired_difference(ahead, behind[:30] + BROKEN * 10, KEYS) == short
    assert paired_difference(ahead[:30] + BROKEN * 10, behind, KEYS) == short
    assert paired_difference(ahead, behind[:7] + BROKEN * 33, KEYS) is None, "too few groups"


# Trial 0 hits 24 of 40 queries; what the others hit of these and of the other 16 decides. A mean
# of forty differences of which one is 1 and the others are 0 is one standard error.
BAR = "1" * 24 + "0" * 16
DECISIONS = [
    # what, its marks, standard errors, goes on, words
    (
        "far below",
        "1" * 8 + "0" * 32,
        1.0,
        False,
        "standard errors below trial 0 at the bar, more than 1",
    ),
    ("hardly below, and on other queries", "0" * 16 + "1" * 23 + "0", 1.0, True, "not more than 1"),
    ("as far below, by some of the same queries", "1" * 23 + "0" * 17, 0.9, False, "1.00 standard"),
    ("as far below, and more is wanted", "1" * 23 + "0" * 17, 1.5, True, "not more than 1.5"),
    ("any difference is enough", "0" * 16 + "1" * 23 + "0", 0.0, False, "more than 0"),
    ("with hits of other queries", "", 1.0, False, "by their means, for it has fewer than 8"),
]


@pytest.mark.parametrize(("what", "marks", "errors", "goes_on", "words"), DECISIONS)
def test_a_trial_below_the_bar_is_pruned_where_it_is_told_worse(
    what: str, marks: str, errors: float, goes_on: bool, words: str
) -> None:
    rule = PruningRule("paired", 2, standard_errors=errors, queries=ALONE)
    scores = {0: {1: 24 / 40}, 1: {1: marks.count("1") / 40}}
    by_trial = {0: BAR, 1: marks}
    decision = decide(
        rule,
        number=1,
        epoch=1,
        scores=scores,
        is_last_rung=False,
        marks_of=lambda number, epoch: by_trial[number],
    )
    assert (decision.go_on, words in decision.reason) == (goes_on, True), (what, decision.reason)
    assert "the bar for the best 1 of 2 trials" in decision.reason


def test_a_late_value_and_one_that_comes_later_are_compared_in_the_same_way() -> None:
    rule = PruningRule("paired", 2, queries=ALONE)
    by_trial = {0: "1" * 8 + "0" * 32, 1: "0" * 16 + "1" * 23 + "0", 2: BAR}
    scores = {number: {1: marks.count("1") / 40} for number, marks in by_trial.items()}

    def marks_of(number: int, epoch: int) -> str:
        return by_trial[number] if epoch == 1 else ""

    late = {
        number: decide_late(
            rule,
            number=number,
            epoch=1,
            last_epoch=4,
            scores=scores,
            submitted=[1],
            marks_of=marks_of,
        )
        for number in by_trial
    }
    assert {number: one.go_on for number, one in late.items()} == {0: False, 1: True, 2: True}
    overtaken = decide_overtaken(
        rule, epoch=1, last_epochs=dict.fromkeys(by_trial, 4), scores=scores, marks_of=marks_of
    )
    assert {number: one.reason for number, one in overtaken.items()} == {
        0: f"{late[0].reason}, since others came"
    }


def test_the_trial_at_the_bar_is_the_lowest_of_those_that_go_on() -> None:
    rule = PruningRule("paired", 2, queries=ALONE)
    by_trial = {0: "1" * 30 + "0" * 10, 1: BAR, 2: "1" * 8 + "0" * 32, 3: "0" * 24 + "1" * 16}
    scores = {number: {1: marks.count("1") / 40} for number, marks in by_trial.items()}
    decision = decide(
        rule,
        number=2,
        epoch=1,
        scores=scores,
        is_last_rung=False,
        marks_of=lambda number, epoch: by_trial[number],
    )
    assert not decision.go_on and "below trial 1 at the bar" in decision.reason


def space(trial: Any) -> None:
    trial.suggest_float("pretext.playback_rate.loss_weight", 0.01, 10.0, log=True)


def anything(values: Mapping[str, Any]) -> Fit:
    return Fit(True, "")


def test_a_study_that_is_opened_again_compares_with_the_hits_that_it_kept(tmp_path: Path) -> None:
    def study() -> SweepStudy:
        return SweepStudy(study_database(tmp_path), "sweep", space, seed=1, num_startup_trials=4)

    rule = PruningRule("paired", 2, queries=IN_TENS)
    first = study()
    at_bar, spared = first.ask(anything).number, first.ask(anything).number
    first.report(at_bar, 1, 24 / 40, rule.queries.note(of(BAR)))
    assert first.decide(at_bar, 1, rule, is_last_rung=False).go_on
    first.report(at_bar, 1, 0.9, rule.queries.note(of("1" * 40)))  # told twice: the first counts
    near = "0" * 16 + "1" * 23 + "0"
    first.report(spared, 1, 23 / 40, rule.queries.note(of(near)))

    later = study()
    decision = later.decide(spared, 1, rule, is_last_rung=False)
    assert decision.go_on and f"below trial {at_bar} at the bar" in decision.reason
    assert study().decide(spared, 1, rule, is_last_rung=False) == decision
    worse = max(later.ask(anything).number for _ in range(3))  # the two, and a new one
    later.report(worse, 1, 8 / 40, rule.queries.note(of("1" * 8 + "0" * 32)))
    assert not later.decide(worse, 1, rule, is_last_rung=False).go_on
    by_means = PruningRule("asha", 2)
    assert not by_means.queries.note(of(BAR)), "other pruners keep no hits"
