"""What can be said of a sweep, decided from its record: who is best, whether that is shown, and
what it cost.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean

from orchestrator.cost.ledger import TRAIN, total
from orchestrator.report.confirmed import confirmed_answer, confirmed_notes
from orchestrator.report.formatting import interval_text, metric_title, rates_list
from orchestrator.report.record import BASELINE_PREFIX, RATES_PATH, SweepRecord, TrialRecord
from prp_core.evaluation.intervals import Interval, seed_interval, wilson_interval

CONFUSION = "rate_confusion/"
MIN_TRIALS_FOR_MEAN = 3  # two that happen to be equal would make an interval of no width
NAMES = {
    RATES_PATH: "rates",
    "pretext.playback_rate.loss_weight": "rate loss weight",
    "pretext.slow_motion.loss_weight": "reconstruction loss weight",
    "pretext.slow_motion.upsampling": "upsampling",
    "pretext.slow_motion.attention.mode": "attention mode",
    "pretext.slow_motion.attention.high": "attention high",
    "pretext.slow_motion.attention.low": "attention low",
    "training.learning_rate": "learning rate",
    "training.classifier_learning_rate_multiplier": "classifier rate x",
}


@dataclass(frozen=True, kw_only=True)
class RateSetRow:
    """The trials of one rate set.

    `best`: of the finished ones (over videos, Wilson); `mean`: over finished trials (Student's t),
    where there are enough. `first_rung` is the mean of every trial at the first rung, where none
    had been pruned yet.
    """

    rates: str
    trials: tuple[TrialRecord, ...]
    best: Interval | None
    best_trial: int | None
    mean: Interval | None
    first_rung: float | None

    def count(self, state: str) -> int:
        """How many of its trials ended so."""
        return sum(trial.state == state for trial in self.trials)


@dataclass(frozen=True)
class Answer:
    """What a reader takes away: `verdict` is ``winner``, ``tie``, ``alone`` (nothing to compare
    with) or ``none``; `notes` qualify it.
    """

    verdict: str
    headline: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Cost:
    """What a trial used. `amount` is in `unit` ("GPU h" or "CPU h"); `usd` None: no price is
    known.
    """

    amount: float
    unit: str
    usd: float | None


@dataclass(frozen=True)
class Point:
    """A trial in the plane of cost and recall."""

    trial: TrialRecord
    cost: float
    recall: float


def video_interval(record: SweepRecord, share: float | None) -> Interval | None:
    """Wilson's 95 % interval of a share of the validation videos; None for no number."""
    if share is None or not math.isfinite(share) or not record.data.num_val:
        return None
    return wilson_interval(round(share * record.data.num_val), record.data.num_val)


def rate_sets(record: SweepRecord) -> list[RateSetRow]:
    """Every rate set that was tried: those with a finished trial by their best, then the others by
    their first rung.
    """
    groups: dict[str, list[TrialRecord]] = {}
    for trial in record.trials:
        groups.setdefault(trial.rates, []).append(trial)
    rows = [_rate_set(record, rates, tuple(trials)) for rates, trials in groups.items()]
    return sorted(
        rows,
        key=lambda row: (
            row.best is None,
            -(row.best.value if row.best else row.first_rung or 0.0),
            row.rates,
        ),
    )


def _rate_set(record: SweepRecord, rates: str, trials: tuple[TrialRecord, ...]) -> RateSetRow:
    finished = sorted(
        (trial for trial in trials if trial in record.finished),
        key=lambda trial: (-trial.objective, trial.number),
    )
    first = min((min(trial.rungs) for trial in record.trials if trial.rungs), default=0)
    early = [trial.rungs[first] for trial in trials if first in trial.rungs]
    return RateSetRow(
        rates=rates,
        trials=trials,
        best=video_interval(record, finished[0].objective) if finished else None,
        best_trial=finished[0].number if finished else None,
        mean=seed_interval([trial.objective for trial in finished])
        if len(finished) >= MIN_TRIALS_FOR_MEAN
        else None,
        first_rung=fmean(early) if early else None,
    )


def first_rung(record: SweepRecord) -> int:
    """The epoch of the first rung that any trial reported; 0 where none did."""
    return min((min(trial.rungs) for trial in record.trials if trial.rungs), default=0)


def answer(record: SweepRecord) -> Answer:
    """The sweep's answer: what a confirmation says, else `leaderboard_answer`."""
    if record.confirmation is None:
        return leaderboard_answer(record)
    verdict, headline = confirmed_answer(record, record.confirmation)
    notes = confirmed_notes(record, record.confirmation)
    # the test part was not measured: what the validation part says of pretraining is all there is
    if not notes:
        best = next((row.best for row in rate_sets(record) if row.best is not None), None)
        notes = () if best is None else _untrained_notes(record, best)
    return Answer(verdict, headline, notes)


def ended_by_budget(record: SweepRecord) -> bool:
    """Whether the sweep came to its end (its baselines are measured there) without all its trials:
    nothing but a budget does that.
    """
    all_ended = all(trial.state.is_over for trial in record.trials)
    return (
        record.config.budget.is_limited
        and bool(record.baselines)
        and all_ended
        and len(record.trials) < record.config.sweep.num_trials
    )


def leaderboard_answer(record: SweepRecord) -> Answer:
    """What the trials of the search say. A winner is named only where its interval lies above the
    next rate set's.
    """
    rows = [row for row in rate_sets(record) if row.best is not None]
    metric = metric_title(record.objective)
    if not rows:
        ended = sum(trial.state.is_over for trial in record.trials)
        return Answer(
            "none",
            f"No trial has finished yet: {ended} of {record.config.sweep.num_trials} ended.",
            (),
        )
    best = rows[0]
    others = rows[1:]
    assert best.best is not None
    lead = f"trial {best.best_trial} reaches {metric} {interval_text(best.best)}"
    if not others:
        return Answer(
            "alone",
            f"Only rates {best.rates} have a finished trial: {lead}.",
            _notes(record, best.best),
        )
    overlapping = [
        row for row in others if row.best is not None and not best.best.is_above(row.best)
    ]
    next_best = others[0]
    if not overlapping:
        text = (
            f"Rates {best.rates} are best: {lead}, above every other rate set (next "
            f"{next_best.rates}, {interval_text(next_best.best)})."
        )
        return Answer("winner", text, _notes(record, best.best))
    whom = rates_list([row.rates for row in overlapping])
    shown = f"{metric} {interval_text(best.best)} (trial {best.best_trial})"
    text = (
        f"A tie: rates {best.rates} lead with {shown}, but on {record.data.num_val} videos "
        f"that cannot be told from {whom}."
    )
    return Answer("tie", text, _notes(record, best.best))


def _notes(record: SweepRecord, best: Interval) -> tuple[str, ...]:
    many = (
        f"the best of {len(record.finished)} finished trials"
        if len(record.finished) > 1
        else "one trial"
    )
    doubt = (
        f"Not confirmed: {many}, each with one seed, chosen on the very videos that the "
        "figure is from. Expect less on others."
    )
    return (*_untrained_notes(record, best), doubt)


def _untrained_notes(record: SweepRecord, best: Interval) -> tuple[str, ...]:
    untrained = video_interval(
        record, record.baselines.get(f"{BASELINE_PREFIX}random_init/{record.objective}")
    )
    if untrained is None:
        return ()
    shown = (
        "pretraining helps"
        if best.is_above(untrained)
        else "the intervals overlap, so that pretraining helps is not shown"
    )
    return (
        f"The same encoder untrained reaches {interval_text(untrained)}: {shown}. "
        f"Guessing reaches {record.data.chance:.3f}.",
    )


def cost_of(record: SweepRecord, trial: TrialRecord) -> Cost:
    """What training `trial` used: by the ledger, else its duration times its resources."""
    on_gpu = trial.gpus > 0
    unit = "GPU h" if on_gpu else "CPU h"
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


def cost_points(record: SweepRecord) -> list[Point]:
    """Every trial that used something and was measured."""
    points = (
        Point(trial, cost_of(record, trial).amount, trial.objective) for trial in record.trials
    )
    return [point for point in points if point.cost > 0 and math.isfinite(point.recall)]


def pareto_front(points: Iterable[Point]) -> list[Point]:
    """Those that no other reaches at the same cost or less, by cost."""
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point.cost, -point.recall)):
        if not front or point.recall > front[-1].recall:
            front.append(point)
    return front


def confusion_of(trial: TrialRecord) -> dict[tuple[int, int], float]:
    """(true rate, named rate) -> share of the clips of the true rate, at the end of the trial's
    last epoch; empty where it was not logged.
    """
    pairs = {
        name.removeprefix(CONFUSION).partition("_as_"): value
        for name, value in trial.metrics.items()
        if name.startswith(CONFUSION)
    }
    return {(int(true), int(named)): value for (true, _, named), value in pairs.items()}


def most_confused(confusion: Mapping[tuple[int, int], float]) -> tuple[int, int, float] | None:
    """(true, named, share) of the commonest mistake; None where there is none."""
    mistakes = [
        (share, true, named)
        for (true, named), share in confusion.items()
        if true != named and share > 0
    ]
    share, true, named = max(mistakes, default=(0.0, 0, 0))
    return (true, named, share) if mistakes else None


def counters(record: SweepRecord) -> dict[str, float]:
    """The ``data/...`` counters summed over the trials."""
    totals: dict[str, float] = {}
    for trial in record.trials:
        for name, value in trial.metrics.items():
            if name.startswith("data/") and not name.endswith("_rate"):
                totals[name] = totals.get(name, 0.0) + value
    return dict(sorted(totals.items()))


def reasons(items: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """(who, reason) grouped by reason, in the order of first appearance."""
    grouped: dict[str, list[str]] = {}
    for who, reason in items:
        grouped.setdefault(reason, []).append(who)
    return grouped


def short_name(path: str) -> str:
    """What a path is called in the report: a name of our own where its words need one, else the
    last two of them.
    """
    return NAMES.get(path) or " ".join(path.split(".")[-2:]).replace("_", " ")
