"""What every entry of `PRUNERS` promises: the best goes on, the last rung finishes everybody."""

from __future__ import annotations

import random

import pytest

from orchestrator.search.pruner import (
    PRUNERS,
    PruningDecision,
    PruningRule,
    decide,
    decide_late,
    decide_overtaken,
)
from orchestrator.search.query_hits import Queries


@pytest.mark.parametrize("name", PRUNERS)
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_the_best_of_a_rung_goes_on_and_so_does_all_that_scores_as_much(
    name: str, factor: int
) -> None:
    draw = random.Random(factor)
    rule = PruningRule(name, factor)
    for num_others in range(12):
        others = [draw.random() for _ in range(num_others)]
        values = {value: _decided(rule, value, others).go_on for value in (*others, 1.0, 0.0)}
        assert values[1.0]
        least = min(value for value, goes_on in values.items() if goes_on)
        assert all(goes_on for value, goes_on in values.items() if value > least), (
            "whoever scores more than one that goes on goes on"
        )


def _decided(rule: PruningRule, value: float, others: list[float]) -> PruningDecision:
    scores = {number: {1: one} for number, one in enumerate([value, *others])}
    return decide(rule, number=0, epoch=1, scores=scores, is_last_rung=False)


@pytest.mark.parametrize("name", PRUNERS)
def test_what_queries_tell_spares_a_trial_and_never_prunes_one(name: str) -> None:
    draw = random.Random(1)
    queries = Queries({f"{number:02d}": f"scene {number % 20}" for number in range(60)})
    rule = PruningRule(name, 2, queries=queries)
    marks = ["".join(draw.choice("01") for _ in range(60)) for _ in range(24)]
    scores = {number: {1: one.count("1") / 60} for number, one in enumerate(marks)}
    for number in scores:
        trial = {"number": number, "epoch": 1, "scores": scores, "is_last_rung": False}
        by_means = decide(rule, **trial)
        by_query = decide(rule, **trial, marks_of=lambda other, epoch: marks[other])
        assert by_query.go_on or not by_means.go_on
        assert PRUNERS[name].compares_queries or by_query == by_means


@pytest.mark.parametrize("name", PRUNERS)
def test_the_last_rung_and_a_rung_with_too_few_trials_prune_nobody(name: str) -> None:
    rule = PruningRule(name, 2, min_trials=4)
    assert _decided(rule, 0.0, [1.0] * 3).go_on
    scores = {number: {9: 0.0 if number == 0 else 1.0} for number in range(10)}
    assert decide(rule, number=0, epoch=9, scores=scores, is_last_rung=True).go_on


@pytest.mark.parametrize("name", PRUNERS)
def test_every_decision_says_its_rung_and_its_value(name: str) -> None:
    for others in ([], [0.1], [0.9], [0.1, 0.5, 0.9]):
        assert _decided(PruningRule(name, 2), 0.25, others).reason.startswith("rung 1: 0.2500")


@pytest.mark.parametrize("name", PRUNERS)
def test_a_trial_that_is_beyond_a_rung_is_not_pruned_there(name: str) -> None:
    scores = {0: {1: 0.0, 2: 0.0}, 1: {1: 0.9, 2: 0.9}, 2: {1: 0.9}}
    rule = PruningRule(name, 2)
    late = decide_late(rule, number=0, epoch=1, last_epoch=4, scores=scores, submitted=[1, 2])
    assert late.go_on
    overtaken = decide_overtaken(rule, epoch=1, last_epochs={0: 4, 1: 4, 2: 4}, scores=scores)
    assert 0 not in overtaken and not any(one.go_on for one in overtaken.values())
