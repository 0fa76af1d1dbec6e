"""Pruning decisions as tables: which trial goes on at a rung, and the reason given."""

import random

import pytest

from orchestrator.search.pruner import (
    PRUNERS,
    PruningDecision,
    PruningRule,
    decide,
    decide_late,
    decide_overtaken,
    values_at,
)


def decided(
    rule: PruningRule, value: float, others: list[float], *, epoch: int = 1, is_last: bool = False
) -> PruningDecision:
    """The decision on trial 0, which scored `value` where the `others` had been."""
    scores = {number: {epoch: one} for number, one in enumerate([value, *others])}
    return decide(rule, number=0, epoch=epoch, scores=scores, is_last_rung=is_last)


CASES = [
    # pruner, value, others at the rung, reduction factor, goes on
    ("asha", 0.2, [], 3, True),  # the first to arrive has nobody to compare with
    ("asha", 0.5, [0.4], 3, True),  # best one of two
    ("asha", 0.3, [0.4], 3, False),
    ("asha", 0.4, [0.4], 3, True),  # a tie with the bar goes on
    ("asha", 0.5, [0.6, 0.4, 0.3], 3, False),  # 4 // 3 = 1 goes on
    ("asha", 0.5, [0.6, 0.4, 0.3, 0.2, 0.1], 3, True),  # 6 // 3 = 2 go on
    ("asha", 0.4, [0.6, 0.5, 0.3], 3, False),
    ("asha", 0.4, [0.6, 0.5, 0.3], 2, False),
    ("asha", 0.5, [0.6, 0.4, 0.3], 2, True),
    ("median", 0.5, [0.6, 0.4], 3, True),  # the median itself goes on
    ("median", 0.3, [0.6, 0.4], 3, False),
    ("none", 0.0, [0.9, 0.8], 3, True),
]


@pytest.mark.parametrize(("pruner", "value", "others", "factor", "goes_on"), CASES)
def test_decisions(
    pruner: str, value: float, others: list[float], factor: int, goes_on: bool
) -> None:
    decision = decided(PruningRule(pruner, factor), value, others, epoch=5)
    assert decision.go_on is goes_on
    assert f"rung 5: {value:.4f}" in decision.reason


@pytest.mark.parametrize("pruner", PRUNERS)
def test_the_last_rung_finishes_even_the_worst(pruner: str) -> None:
    assert decided(PruningRule(pruner, 3), 0.0, [1.0] * 9, epoch=9, is_last=True).go_on


@pytest.mark.parametrize("pruner", PRUNERS)
def test_the_best_of_a_rung_and_who_ties_with_it_go_on(pruner: str) -> None:
    for others in ([0.8], [0.8, 0.1, 0.1, 0.1], [0.1] * 9):
        assert decided(PruningRule(pruner, 4), 0.8, others).go_on


def test_nobody_is_pruned_before_enough_others_were_there() -> None:
    assert decided(PruningRule("asha", 3, min_trials=2), 0.0, [1.0]).go_on


def test_the_reason_names_both_numbers() -> None:
    decision = decided(PruningRule("asha", 3), 0.25, [0.5, 0.75], epoch=2)
    assert decision.reason == "rung 2: 0.2500 < 0.7500, the bar for the best 1 of 3 trials"


def test_values_at_leaves_out_the_trial_itself_and_those_that_were_not_there() -> None:
    scores = {0: {1: 0.1, 3: 0.3}, 1: {1: 0.2}, 2: {}}
    assert values_at(1, scores, without=1) == [0.1]
    assert values_at(3, scores, without=1) == [0.3]


LATE = [
    # what happened, scores, of trial, at epoch, submitted, goes on
    ("on time", {0: {1: 0.2}, 1: {1: 0.5}}, 0, 1, [1], False),
    (
        "late: others came meanwhile",
        {0: {1: 0.4}, 1: {1: 0.5}, 2: {1: 0.6}, 3: {1: 0.1}},
        0,
        1,
        [1],
        False,
    ),
    (
        "late, and among the best half of those",
        {0: {1: 0.5}, 1: {1: 0.4}, 2: {1: 0.6}, 3: {1: 0.1}},
        0,
        1,
        [1],
        True,
    ),
    ("the first to arrive", {0: {1: 0.0}}, 0, 1, [1], True),
    (
        "out of order: it has passed rung 2 before rung 1's value came",
        {0: {1: 0.1, 2: 0.9}, 1: {1: 0.5, 2: 0.1}},
        0,
        1,
        [1, 2],
        True,
    ),
    (
        "its training is over: what is paid for is used",
        {0: {1: 0.1}, 1: {1: 0.5}},
        0,
        1,
        [1, 2, 4],
        True,
    ),
    (
        "the last rung finishes whatever the value",
        {0: {1: 0.1, 4: 0.0}, 1: {1: 0.5, 4: 0.9}},
        0,
        4,
        [1, 2, 4],
        True,
    ),
    (
        "a later rung of its own does not help at that rung",
        {0: {2: 0.1}, 1: {2: 0.5}},
        0,
        2,
        [1, 2],
        False,
    ),
]


@pytest.mark.parametrize(("what", "scores", "number", "epoch", "submitted", "goes_on"), LATE)
def test_late_decisions(
    what: str, scores: dict, number: int, epoch: int, submitted: list[int], goes_on: bool
) -> None:
    decision = decide_late(
        PruningRule("asha", 2),
        number=number,
        epoch=epoch,
        last_epoch=4,
        scores=scores,
        submitted=submitted,
    )
    assert decision.go_on is goes_on, (what, decision.reason)


LOOKING_BACK = [
    # what happened, pruner, scores, running (with its number of epochs), who stops
    ("better ones came after the first", "asha", {0: {1: 0.2}, 1: {1: 0.5}}, {0: 4, 1: 4}, {0}),
    (
        "who has passed a later rung is compared there",
        "asha",
        {0: {1: 0.2, 2: 0.3}, 1: {1: 0.5}},
        {0: 4, 1: 4},
        set(),
    ),
    ("who has ended is not asked", "asha", {0: {1: 0.2}, 1: {1: 0.5}}, {1: 4}, set()),
    ("who was not there is not asked", "asha", {0: {}, 1: {1: 0.5}}, {0: 4, 1: 4}, set()),
    ("a tie stays", "asha", {0: {1: 0.5}, 1: {1: 0.5}}, {0: 4, 1: 4}, set()),
    (
        "at its own last rung nobody is stopped",
        "asha",
        {0: {1: 0.2}, 1: {1: 0.5}},
        {0: 1, 1: 4},
        set(),
    ),
    (
        "the median rule decides at arrival only",
        "median",
        {0: {1: 0.2}, 1: {1: 0.5}},
        {0: 4, 1: 4},
        set(),
    ),
    ("pruning is off", "none", {0: {1: 0.2}, 1: {1: 0.5}}, {0: 4, 1: 4}, set()),
]


@pytest.mark.parametrize(("what", "pruner", "scores", "running", "stopped"), LOOKING_BACK)
def test_who_is_overtaken(
    what: str, pruner: str, scores: dict, running: dict[int, int], stopped: set[int]
) -> None:
    decisions = decide_overtaken(
        PruningRule(pruner, 2), epoch=1, last_epochs=running, scores=scores
    )
    assert set(decisions) == stopped, what
    assert all(
        "since others came" in decision.reason and not decision.go_on
        for decision in decisions.values()
    )


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("pruner", PRUNERS)
def test_overtaken_trials_are_those_that_a_decision_now_would_prune(seed: int, pruner: str) -> None:
    draw = random.Random(seed)
    rule = PruningRule(pruner, draw.choice([2, 3]), min_trials=draw.choice([1, 2, 3]))
    scores = {
        number: {
            epoch: draw.choice([0.1, 0.2, 0.3, 0.4]) for epoch in (1, 2, 4)[: draw.randrange(4)]
        }
        for number in range(draw.randrange(12))
    }
    running = {number: draw.choice([1, 2, 4]) for number in scores if draw.random() < 0.6}
    for epoch in (1, 2, 4):
        now = {
            number: decide(
                rule, number=number, epoch=epoch, scores=scores, is_last_rung=epoch >= last
            )
            for number, last in running.items()
            if max(scores[number], default=0) == epoch
        }
        overtaken = decide_overtaken(rule, epoch=epoch, last_epochs=running, scores=scores)
        assert {number: one.reason for number, one in overtaken.items()} == {
            number: f"{one.reason}, since others came"
            for number, one in now.items()
            if PRUNERS[pruner].compares_again and not one.go_on
        }
