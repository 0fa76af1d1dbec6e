"""What the answer of a sweep does not count, and why, as one sentence beside it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from orchestrator.report.findings import by_reason
from orchestrator.report.formatting import joined, metric_title, rates_list
from orchestrator.report.record import ConfirmationRecord, SweepRecord, TrialRecord
from orchestrator.trial_state import TrialState

RATES = "pretext.playback_rate.rates"
MOST_NAMED = 6
BROKEN = ("retrieval/num_broken", "label_free/num_broken")


def left_out_notes(record: SweepRecord) -> tuple[str, ...]:
    """The sentence, for whatever shows the answer of `record`; none where all is compared."""
    parts = [
        *_rate_sets(record),
        *_without_figure(record),
        *_extended(record),
        *_untrained_rates(record),
        *_unreadable(record),
        *(_of_confirmation(record.confirmation) if record.confirmation else ()),
    ]
    return (f"Left out: {'; '.join(parts)}.",) if parts else ()


def without_figure(record: SweepRecord) -> list[TrialRecord]:
    """The trials that finished without a number as their objective."""
    return [
        trial
        for trial in record.trials
        if trial.state == TrialState.FINISHED and not math.isfinite(trial.objective)
    ]


def _rate_sets(record: SweepRecord) -> Iterator[str]:
    """Rate sets of which no trial has finished, where another one has one that did."""
    compared = {trial.rates for trial in record.finished if trial.continues is None}
    states: dict[str, Counter[TrialState]] = {}
    for trial in record.trials:
        if trial.continues is None and trial.rates not in compared:
            states.setdefault(trial.rates, Counter())[trial.state] += 1
    if not compared or not states:
        return
    named = [
        f"{rates} ({', '.join(f'{number} {state}' for state, number in counts.most_common())})"
        for rates, counts in states.items()
    ]
    ended = any(TrialState.FINISHED in counts for counts in states.values())
    how = "finished with a figure" if ended else "finished"
    yield f"rates {rates_list(named, MOST_NAMED)}, of which no trial has {how}"


def _without_figure(record: SweepRecord) -> Iterator[str]:
    trials = without_figure(record)
    if trials:
        yield f"{_trials(trials)}, whose {metric_title(record.objective)} is not a number"


def _extended(record: SweepRecord) -> Iterator[str]:
    trials = [trial for trial in record.trials if trial.continues is not None]
    if trials:
        yield f"{_trials(trials)}, which trained on from another trial for more epochs"


def _untrained_rates(record: SweepRecord) -> Iterator[str]:
    """Rate sets that were proposed and could not be trained on these videos."""
    trained = {trial.rates for trial in record.trials}
    refused = dict.fromkeys(
        (str(values[RATES]), reason)
        for values, reason in record.unfit
        if RATES in values and str(values[RATES]) not in trained
    )
    for reason, rates in by_reason(refused).items():
        yield f"rates {rates_list(rates, MOST_NAMED)}, which could not be trained ({reason})"


def _unreadable(record: SweepRecord) -> Iterator[str]:
    taken = record.taken
    number = 0 if taken is None else sum(round(taken.metrics.get(name, 0.0)) for name in BROKEN)
    if taken is not None and number:
        yield f"{_videos(number)} that could not be read when trial {taken.number} was measured"


def _of_confirmation(found: ConfirmationRecord) -> Iterator[str]:
    for trial, reason in found.lost.items():
        yield f"trial {trial}, a candidate of which a confirming run failed ({reason})"
    if found.num_unread:
        yield f"{_videos(found.num_unread)} that not every confirming run could read"
    if found.num_uncovered:
        more = "runs" if found.num_uncovered > 1 else "run"
        yield f"{found.num_uncovered} more confirming {more}, which the budget did not cover"
    broken = round(found.test.get("test/retrieval/num_broken", 0.0))
    if broken:
        yield f"{_videos(broken)} that could not be read when the test part was measured"


def _trials(trials: list[TrialRecord]) -> str:
    plural = "s" if len(trials) > 1 else ""
    return f"trial{plural} {joined([str(trial.number) for trial in trials])}"


def _videos(number: int) -> str:
    return f"{number} video{'s' if number > 1 else ''}"
