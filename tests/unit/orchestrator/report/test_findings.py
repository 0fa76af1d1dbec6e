"""The statistics of a sweep: rate sets, intervals, costs and rate confusion."""

from __future__ import annotations

import dataclasses

import pytest

from orchestrator.report import findings
from orchestrator.trial_state import TrialState
from prp_core.evaluation.intervals import Interval
from tests.small_sweep import UNTRAINED, entry, record, trial


def test_rate_sets_with_a_finished_trial_come_first_by_their_best() -> None:
    trials = [
        trial(0, "1-2", 0.2),
        trial(1, "1-4", 0.4),
        trial(2, "1-4", 0.3),
        trial(3, "1-4", 0.5),
        trial(4, "2-4", 0.9, "pruned"),
    ]
    rows = findings.rate_sets(record(*trials, trial(5, "1-8", state=TrialState.FAILED)))
    assert [row.rates for row in rows] == ["1-4", "1-2", "2-4", "1-8"]
    first = rows[0]
    assert (first.best_trial, first.best) == (3, 0.5)
    assert first.interval is not None and first.interval.low == pytest.approx(0.431)
    assert first.mean.value == pytest.approx(0.4) and first.mean.low < 0.3
    assert first.first_rung == pytest.approx(0.2)
    assert rows[1].mean is None, "one trial has no interval over trials"
    assert rows[2].best is None and rows[2].first_rung == 0.9 and rows[3].first_rung is None


def test_an_interval_is_the_evaluations_own_and_of_the_objective_that_is_shown() -> None:
    measured = trial(0, "1-2", 0.646)
    interval = findings.trial_interval(record(), measured)
    assert interval is not None and interval.high == pytest.approx(0.715)
    newer = dataclasses.replace(measured, objective=0.5)
    assert findings.trial_interval(record(), newer) is None, "of another evaluation"
    assert findings.trial_interval(record(), trial(0, "1-2")) is None
    known = record(baselines=UNTRAINED)
    assert findings.baseline_interval(known, "random_init") == Interval(0.3, 0.24, 0.36)
    assert findings.baseline_interval(known, "mean_frame") is None
    assert findings.intervals_words(record(num_groups=1)).startswith("no intervals: 1 groups")


def test_cost_by_the_ledger_and_without_one() -> None:
    one = trial(1, "1-2", 0.4)
    assert findings.cost_of(record(one), one) == findings.Cost(4.0, "CPU h", None)
    rows = (
        entry(1, cpus=2, busy_seconds=1800, usd=0.5),
        entry(1, cpus=2, busy_seconds=900, usd=0.25),
        entry(1, kind="evaluation", cpus=1, busy_seconds=999, usd=9.0),
        entry(0, cpus=2, busy_seconds=999),
    )
    assert findings.cost_of(record(one, ledger=rows), one) == findings.Cost(1.5, "CPU h", 0.75)
    unpriced = (*rows, entry(1, cpus=2, busy_seconds=1, price=""))
    assert findings.cost_of(record(one, ledger=unpriced), one).usd is None, (
        "an unknown price is not zero"
    )
    on_gpus = dataclasses.replace(one, gpus=4.0)
    assert findings.cost_of(record(on_gpus), on_gpus) == findings.Cost(8.0, "GPU h", None)


def test_nothing_beats_a_point_of_the_pareto_front() -> None:
    planes = [(1.0, 0.3), (2.0, 0.2), (2.0, 0.5), (3.0, 0.5), (4.0, 0.6)]
    points = [
        findings.Point(trial(number, "1-2"), cost, recall)
        for number, (cost, recall) in enumerate(planes)
    ]
    assert [(point.cost, point.recall) for point in findings.pareto_front(points)] == [
        (1.0, 0.3),
        (2.0, 0.5),
        (4.0, 0.6),
    ]


def test_confusions_and_the_commonest_mistake() -> None:
    shares = {"1_as_1": 0.9, "1_as_8": 0.1, "8_as_1": 0.4, "8_as_8": 0.6}
    metrics = {
        "train/loss": 1.0,
        **{f"rate_confusion/{name}": share for name, share in shares.items()},
    }
    confusion = findings.confusion_of(trial(0, "1-8", metrics=metrics))
    assert confusion == {(1, 1): 0.9, (1, 8): 0.1, (8, 1): 0.4, (8, 8): 0.6}
    assert findings.most_confused(confusion) == (8, 1, 0.4)
    assert findings.most_confused({(1, 1): 1.0, (1, 2): 0.0}) is None
