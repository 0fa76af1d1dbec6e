"""Statistics of a sweep from its record: rate sets with intervals, costs and rate confusion."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean

from orchestrator.confirmation import mean_interval
from orchestrator.cost.ledger import TRAIN, total
from orchestrator.report.record import BASELINE_PREFIX, SweepRecord, TrialRecord
from orchestrator.trial_state import TrialState
from prp_core.evaluation.intervals import MIN_GROUPS, Interval, metric_interval

CONFUSION = "rate_confusion/"
MIN_TRIALS_FOR_MEAN = 3  # two that happen to be equal would make an interval of no width


class Outcome(StrEnum):
    """What the comparison of the rate sets shows."""

    WINNER = "winner"
    """One rate set is better than every other one."""

    TIE = "tie"
    """The best rate set is not distinguishable from another one."""

    ALONE = "alone"
    """Only one rate set has a finished trial."""

    NONE = "none"
    """No trial has finished."""


@dataclass(frozen=True, kw_only=True)
class RateSetRow:
    """The trials of one rate set.

    `best` is the best finished trial's objective and `interval` its interval over groups of videos
    (None: there are too few), `mean` the mean of the finished trials with its interval over trials
    (Student's t), from `MIN_TRIALS_FOR_MEAN` on. `first_rung` is the mean objective of all its
    trials at the first rung, before any was pruned.
    """

    rates: str
    trials: tuple[TrialRecord, ...]
    best: float | None
    interval: Interval | None
    best_trial: int | None
    mean: Interval | None
    first_rung: float | None

    def count(self, state: TrialState) -> int:
        """The number of its trials in `state`."""
        return sum(trial.state == state for trial in self.trials)


@dataclass(frozen=True)
class Cost:
    """The resources that a trial used: `amount` in `unit` ("GPU h" or "CPU h").

    `usd` is None where no price is known.
    """

    amount: float
    unit: str
    usd: float | None


@dataclass(frozen=True)
class Point:
    """A trial's cost and recall, as a point of the Pareto plot."""

    trial: TrialRecord
    cost: float
    recall: float


def trial_interval(record: SweepRecord, trial: TrialRecord) -> Interval | None:
    """The interval of the trial's objective, over groups of validation videos; None where there are
    too few groups, or where it was not measured together with the objective.
    """
    return interval_at(trial.metrics, record.objective, trial.objective)


def baseline_interval(record: SweepRecord, name: str) -> Interval | None:
    """The interval of the objective of the baseline `name`, as `trial_interval`."""
    return metric_interval(record.baselines, f"{BASELINE_PREFIX}{name}/{record.objective}")


def interval_at(metrics: Mapping[str, float], name: str, value: float) -> Interval | None:
    """The interval of the metric `name`, where it is that of `value`: metrics may be newer."""
    found = metric_interval(metrics, name)
    return found if found is not None and math.isclose(found.value, value) else None


def intervals_words(record: SweepRecord) -> str:
    """What the intervals of this record are, or why there are none."""
    number = record.data.num_val_groups
    if number < MIN_GROUPS:
        return (
            f"no intervals: {number} groups of validation videos, and an interval needs "
            f"{MIN_GROUPS}"
        )
    return f"95 % intervals over {number} groups of validation videos"


def rate_sets(record: SweepRecord) -> list[RateSetRow]:
    """All rate sets: first those with a finished trial, by the best; then by the first rung.

    A trial that was extended trained for longer than the others, which would decide for its rates:
    it is left out.
    """
    groups: dict[str, list[TrialRecord]] = {}
    for trial in record.trials:
        if trial.continues is None:
            groups.setdefault(trial.rates, []).append(trial)
    rows = [_rate_set(record, rates, tuple(trials)) for rates, trials in groups.items()]
    return sorted(
        rows,
        key=lambda row: (
            row.best is None,
            -(row.first_rung or 0.0 if row.best is None else row.best),
            row.best_trial or 0,  # of equal ones the first, as the winner is chosen
            row.rates,
        ),
    )


def _rate_set(record: SweepRecord, rates: str, trials: tuple[TrialRecord, ...]) -> RateSetRow:
    finished = sorted(
        (trial for trial in trials if trial in record.finished),
        key=lambda trial: (-trial.objective, trial.number),
    )
    first = first_rung(record)
    early = [trial.rungs[first] for trial in trials if first in trial.rungs]
    return RateSetRow(
        rates=rates,
        trials=trials,
        best=finished[0].objective if finished else None,
        interval=trial_interval(record, finished[0]) if finished else None,
        best_trial=finished[0].number if finished else None,
        mean=mean_interval([trial.objective for trial in finished], least=0.0, most=1.0)
        if len(finished) >= MIN_TRIALS_FOR_MEAN
        else None,
        first_rung=fmean(early) if early else None,
    )


def first_rung(record: SweepRecord) -> int:
    """The epoch of the first rung that any trial reported; 0 where none did."""
    return min((min(trial.rungs) for trial in record.trials if trial.rungs), default=0)


def cost_of(record: SweepRecord, trial: TrialRecord) -> Cost:
    """The cost of training `trial`: by the ledger, else its duration times its resources."""
    on_gpu = trial.gpus > 0
    unit = hours_unit(on_gpu)
    entries = [
        entry
        for entry in record.ledger or ()
        if entry.kind == TRAIN and entry.trial == trial.number
    ]
    if not entries:
        return Cost(trial.seconds * (trial.gpus if on_gpu else trial.cpus) / 3600, unit, None)
    sums = total(entries)
    return Cost(
        sums.gpu_hours if on_gpu else sums.cpu_hours, unit, sums.usd if sums.is_priced else None
    )


def hours_unit(on_gpu: bool) -> str:
    """``GPU h`` or ``CPU h``."""
    return "GPU h" if on_gpu else "CPU h"


def cost_points(record: SweepRecord) -> list[Point]:
    """The points of the trials that have both a cost and an objective."""
    points = (
        Point(trial, cost_of(record, trial).amount, trial.objective) for trial in record.trials
    )
    return [point for point in points if point.cost > 0 and math.isfinite(point.recall)]


def pareto_front(points: Iterable[Point]) -> list[Point]:
    """The points whose recall no other point reaches at the same cost or less, by cost."""
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point.cost, -point.recall)):
        if not front or point.recall > front[-1].recall:
            front.append(point)
    return front


def confusion_of(trial: TrialRecord) -> dict[tuple[int, int], float]:
    """The rate confusion matrix of the trial's last epoch; empty where it was not logged.

    (true rate, predicted rate) -> share of the true rate's clips, 0 to 1.
    """
    pairs = {
        name.removeprefix(CONFUSION).partition("_as_"): value
        for name, value in trial.metrics.items()
        if name.startswith(CONFUSION)
    }
    return {(int(true), int(predicted)): value for (true, _, predicted), value in pairs.items()}


def most_confused(confusion: Mapping[tuple[int, int], float]) -> tuple[int, int, float] | None:
    """(true rate, predicted rate, share) of the most frequent error; None where there is none."""
    errors = [
        (share, true, predicted)
        for (true, predicted), share in confusion.items()
        if true != predicted and share > 0
    ]
    share, true, predicted = max(errors, default=(0.0, 0, 0))
    return (true, predicted, share) if errors else None


def counters(record: SweepRecord) -> dict[str, float]:
    """The ``data/...`` counters summed over the trials."""
    totals: dict[str, float] = {}
    for trial in record.trials:
        for name, value in trial.metrics.items():
            if name.startswith("data/") and not name.endswith("_rate"):
                totals[name] = totals.get(name, 0.0) + value
    return dict(sorted(totals.items()))


def by_reason(items: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """(name, reason) pairs as reason -> names, in the order of first appearance."""
    grouped: dict[str, list[str]] = {}
    for name, reason in items:
        grouped.setdefault(reason, []).append(name)
    return grouped
