"""The answer of a sweep in one sentence: which rates are best, and what qualifies that.

Terminal, report, `prp status`, MLflow's tags and descriptions and the model card all show what
`answer` returns; none of them words a verdict of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from orchestrator.report.confirmed import (
    confirmed_answer,
    confirmed_notes,
    selected_beside_untrained,
    verdict_words,
)
from orchestrator.report.findings import (
    Outcome,
    RateSetRow,
    baseline_interval,
    intervals_words,
    rate_sets,
)
from orchestrator.report.formatting import metric_title, rates_list, share_text
from orchestrator.report.judged_how import judged_notes
from orchestrator.report.left_out import left_out_notes, without_figure
from orchestrator.report.objections import below_words
from orchestrator.report.record import BASELINE_PREFIX, SweepRecord
from prp_core.evaluation.intervals import MIN_GROUPS
from prp_core.evaluation.sentinels import alarms


@dataclass(frozen=True)
class Answer:
    """What a reader takes away; the `notes` qualify the `headline`."""

    outcome: Outcome
    headline: str
    notes: tuple[str, ...]

    @property
    def text(self) -> str:
        """The headline and the notes as one paragraph."""
        return " ".join((self.headline, *self.notes))


def answer(record: SweepRecord) -> Answer:
    """The answer of the confirmation, else that of the search's own trials; how it was judged, what
    it does not count, and what is wrong with the videos or with the training of the trial that was
    taken.
    """
    found = leaderboard_answer(record) if record.confirmation is None else _confirmed(record)
    notes = (
        *judged_notes(record),
        *found.notes,
        *left_out_notes(record),
        *_alarm_notes(record),
    )
    return replace(found, notes=notes)


def _confirmed(record: SweepRecord) -> Answer:
    assert record.confirmation is not None
    outcome, headline = confirmed_answer(record, record.confirmation)
    notes = confirmed_notes(record, record.confirmation)
    # Without results on the test part, the validation part is all that compares with untrained.
    if not notes and not record.confirmation.verdicts:
        best = next((row for row in rate_sets(record) if row.best is not None), None)
        notes = () if best is None else _untrained_notes(record, best)
    return Answer(outcome, headline, notes)


def _alarm_notes(record: SweepRecord) -> tuple[str, ...]:
    notes = [f"ALARM: {record.data.leakage}."] if record.data.leakage else []
    taken = record.taken
    if taken is not None:
        notes += [f"ALARM: trial {taken.number}: {one}." for one in alarms(taken.metrics)]
    return tuple(notes)


def confirmed_word(record: SweepRecord) -> str:
    """Whether the answer is confirmed by new seeds: ``yes``, ``tie`` or ``no``."""
    if record.confirmation is None:
        return "no"
    return "yes" if answer(record).outcome == Outcome.WINNER else "tie"


def verdict_word(record: SweepRecord) -> str:
    """How what was taken compares with no training and with pixels, in a few words."""
    if record.confirmation is not None and record.confirmation.verdicts:
        return verdict_words(record.confirmation)
    return _below(record) or "not compared"


def _below(record: SweepRecord) -> str:
    """Which baselines the best trial lies below, by the search's own figures."""
    best = record.best
    return "" if best is None else below_words(best.objective, record.baselines, record.objective)


def leaderboard_answer(record: SweepRecord) -> Answer:
    """The answer of the search's trials.

    A leader is named only where its interval lies above that of every other rate set. Which rates
    are best is said by a confirmation alone.
    """
    ranked = [row for row in rate_sets(record) if row.best is not None]
    if not ranked:
        ended = sum(trial.state.is_over for trial in record.trials)
        planned = record.config.sweep.num_trials
        finished = "finished with a figure" if without_figure(record) else "finished"
        return Answer(Outcome.NONE, f"No trial has {finished} yet: {ended} of {planned} ended.", ())
    row, others = ranked[0], ranked[1:]
    notes = (*_untrained_notes(record, row), _not_confirmed(record))
    reached = f"{metric_title(record.objective)} {share_text(row.best, row.interval)}"
    below = _below(record)
    aside = f", {below}" if below else ""
    lead = f"trial {row.best_trial} reaches {reached}{aside}"
    if not others:
        which = "a finished trial" + (" with a figure" if without_figure(record) else "")
        return Answer(Outcome.ALONE, f"Only rates {row.rates} have {which}: {lead}.", notes)
    overlapping = [other.rates for other in others if not _is_above(row, other)]
    if overlapping:
        return Answer(
            Outcome.TIE,
            _tie(record, row, f"{reached} (trial {row.best_trial}){aside}", overlapping),
            notes,
        )
    runner_up = others[0]
    return Answer(
        Outcome.WINNER,
        f"Rates {row.rates} lead: {lead}, above every other rate set that finished a trial (next "
        f"{runner_up.rates}, {share_text(runner_up.best, runner_up.interval)}).",
        notes,
    )


def _is_above(row: RateSetRow, other: RateSetRow) -> bool:
    """Whether the intervals of two rate sets' best trials are apart; not where one has none."""
    if row.interval is None or other.interval is None:
        return False
    return row.interval.is_above(other.interval)


def ended_by_budget(record: SweepRecord) -> bool:
    """Whether a budget ended the sweep: its end was evaluated although trials are missing."""
    all_ended = all(trial.state.is_over for trial in record.trials)
    return (
        record.config.budget.is_limited
        and bool(record.baselines)
        and all_ended
        and len(record.trials) < record.config.sweep.num_trials
    )


def _tie(record: SweepRecord, row: RateSetRow, reached: str, overlapping: list[str]) -> str:
    return (
        f"A tie: rates {row.rates} lead with {reached}, but on "
        f"{record.data.num_val} videos they are not distinguishable from "
        f"{rates_list(overlapping)}{_why_not(record)}."
    )


def _why_not(record: SweepRecord) -> str:
    is_enough = record.data.num_val_groups >= MIN_GROUPS
    return "" if is_enough else f" ({intervals_words(record)})"


def _not_confirmed(record: SweepRecord) -> str:
    number = len(record.finished)
    if number == 1:
        return "Not confirmed: one trial with one seed, measured on the validation videos alone."
    return (
        f"Not confirmed: the best of {number} finished trials, one seed each, selected on the same "
        "validation videos that it is measured on; expect less on other videos."
    )


def _untrained_notes(record: SweepRecord, row: RateSetRow) -> tuple[str, ...]:
    value = record.baselines.get(f"{BASELINE_PREFIX}random_init/{record.objective}")
    if value is None:
        return ()
    if math.isnan(value):
        return ("What the same encoder untrained reaches is not a number: it is not compared.",)
    untrained = baseline_interval(record, "random_init")
    if untrained is not None and row.interval is not None:
        compared = selected_beside_untrained(row.interval, untrained)
    elif record.data.num_val_groups < MIN_GROUPS:
        compared = intervals_words(record)
    else:
        compared = "one of the two has no interval, so that they are not compared"
    return (
        f"The same encoder untrained reaches {share_text(value, untrained)}: {compared}. "
        f"Chance level: {record.data.chance:.3f}.",
    )
