"""The first sections of the report: the answer, the rate sets and the confirmation."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass

from orchestrator.report import findings
from orchestrator.report.answer import answer, ended_by_budget, leaderboard_answer
from orchestrator.report.confirmed import candidate_text, test_table
from orchestrator.report.content import Figure, Row, Table
from orchestrator.report.findings import Outcome, RateSetRow, baseline_interval, intervals_words
from orchestrator.report.formatting import interval_text, metric_title, number_text, share_text
from orchestrator.report.record import (
    BASELINE_PREFIX,
    BASELINE_TITLES,
    ConfirmationRecord,
    SweepRecord,
)
from orchestrator.tracking.saved_view import link_to_view
from orchestrator.tracking.tracking_uri import run_page, server_of
from orchestrator.trial_state import ENDED, TrialState


@dataclass(frozen=True, kw_only=True)
class AnswerSection:
    """The answer in one sentence, its qualifications, and how far the sweep is."""

    sweep_id: str
    started: str
    progress: str
    headline: str
    notes: tuple[str, ...]
    links: tuple[tuple[str, str], ...] = ()
    is_local: bool = False


@dataclass(frozen=True)
class RateSetsSection:
    """The leaderboard of rate sets as a figure and as a table, with the baselines."""

    figure: Figure
    table: Table


@dataclass(frozen=True, kw_only=True)
class ConfirmationSection:
    """The candidates trained with new seeds; `test` is None where the test part was not used."""

    candidates: Table
    result: str
    num_test_videos: int
    test: Table | None


def answer_section(record: SweepRecord) -> AnswerSection:
    """The head of the report."""
    found = answer(record)
    started = min((trial.started for trial in record.trials if trial.started), default=0.0)
    states = Counter(trial.state for trial in record.trials)
    counts = ", ".join(f"{count} {state}" for state, count in states.most_common())
    extended = sum(trial.continues is not None for trial in record.trials)
    own = len(record.trials) - extended
    progress = f"{own} of {record.config.sweep.num_trials} trials"
    progress += f" and {extended} extended" if extended else ""
    progress += f" ({counts})" if counts else ""
    if ended_by_budget(record):
        progress += f" · ended by its budget of {record.config.budget.words}"
    return AnswerSection(
        sweep_id=record.spec.sweep_id,
        started=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(started)) if started else "not yet",
        progress=progress,
        headline=found.headline,
        notes=(*found.notes, *filter(None, [record.warning])),
        links=links_of(record),
        is_local=not record.spec.tracking_uri.startswith(("http://", "https://")),
    )


def links_of(record: SweepRecord) -> tuple[tuple[str, str], ...]:
    """(words, address) of the sweep's pages in MLflow: the saved view, the parent run, the trial
    that was taken, the showcases; none where MLflow's ids are not known.
    """
    if not record.experiment_id:
        return ()
    uri, experiment = record.spec.tracking_uri, record.experiment_id
    found = [("all runs", link_to_view(server_of(uri), experiment, record.spec.sweep_id))]
    if record.parent_run_id:
        found.append(("the sweep", run_page(uri, experiment, record.parent_run_id)))
    taken = record.taken
    if taken is not None and taken.run_id:
        found.append((f"trial {taken.number}", run_page(uri, experiment, taken.run_id)))
    found += [
        (
            f"showcase of trial {trial.number}",
            run_page(uri, experiment, f"{trial.run_id}/artifacts"),
        )
        for trial in record.trials
        if trial.number in record.showcases and trial.run_id
    ]
    return tuple(found)


def rate_sets_section(record: SweepRecord) -> RateSetsSection | None:
    """The rate sets that were tried; None before the first trial."""
    rows = findings.rate_sets(record)
    return RateSetsSection(_figure(record, rows), _table(record, rows)) if rows else None


def confirmation_section(record: SweepRecord) -> ConfirmationSection | None:
    """The confirmation; None where the sweep has none."""
    found = record.confirmation
    if found is None:
        return None
    return ConfirmationSection(
        candidates=_candidates(record, found),
        result=found.text,
        num_test_videos=record.data.num_test,
        test=test_table(found, record.config.sweep.recall_at_1) if found.test else None,
    )


def _figure(record: SweepRecord, rows: list[RateSetRow]) -> Figure:
    from orchestrator.report.figures import draw_rate_sets

    finished = [
        f"{row.rates}: {share_text(row.best, row.interval)}" for row in rows if row.best is not None
    ]
    untrained = record.baselines.get(f"{BASELINE_PREFIX}random_init/{record.objective}")
    references = {"chance": record.data.chance}
    if untrained is not None:
        references["untrained"] = untrained
    return Figure(
        title=_title(record, rows),
        drawing=draw_rate_sets(rows, record.objective, references),
        alternative=f"{metric_title(record.objective)} of the best trial of each rate set, with "
        f"its interval: {'; '.join(finished) or 'no finished trial yet'}",
        note=f"A line is the interval of a rate set's best trial ({intervals_words(record)}).",
    )


def _title(record: SweepRecord, rows: list[RateSetRow]) -> str:
    best = next((row.rates for row in rows if row.best is not None), "")
    titles = {
        Outcome.WINNER: f"{best} is ahead of every other rate set",
        Outcome.TIE: "The leading rate sets are not distinguishable",
        Outcome.ALONE: f"Only {best} has a finished trial",
        Outcome.NONE: "No trial has finished yet",
    }
    return titles[leaderboard_answer(record).outcome]


def _table(record: SweepRecord, rows: list[RateSetRow]) -> Table:
    metric = metric_title(record.objective)
    lines = []
    for place, row in enumerate(rows):
        cells = (
            row.rates,
            _counts(row),
            share_text(row.best, row.interval),
            "" if row.best_trial is None else str(row.best_trial),
            _mean(record, row),
            number_text(row.first_rung),
        )
        lines.append(Row(cells, "best" if place == 0 and row.best is not None else ""))
    for name, title in BASELINE_TITLES.items():
        value = record.baselines.get(f"{BASELINE_PREFIX}{name}/{record.objective}")
        if value is not None:
            text = share_text(value, baseline_interval(record, name))
            lines.append(Row((title, "", text, "", "", ""), "soft"))
    lines.append(Row(("chance", "", f"{record.data.chance:.3f}", "", "", ""), "soft"))
    head = (
        "rates",
        "trials",
        f"best {metric} [95 %]",
        "trial",
        "mean of finished [95 %, t]",
        f"mean of all at epoch {findings.first_rung(record)}",
    )
    return Table(head=head, rows=tuple(lines), numeric=(2, 3, 4, 5))


def _mean(record: SweepRecord, row: RateSetRow) -> str:
    if row.mean is None and row.best is not None:
        figures = sum(trial in record.finished for trial in row.trials)
        return f"{figures} finished"
    return interval_text(row.mean)


def _counts(row: RateSetRow) -> str:
    counts = ((state, row.count(state)) for state in (*ENDED, TrialState.RUNNING))
    return ", ".join(f"{count} {state}" for state, count in counts if count)


def _candidates(record: SweepRecord, found: ConfirmationRecord) -> Table:
    rates = {trial.number: trial.rates for trial in record.trials}
    rows = []
    for one in found.candidates:
        cells = (
            str(one.trial),
            rates.get(one.trial, ""),
            ", ".join(str(seed) for seed in one.seeds),
            ", ".join(f"{value:.3f}" for value in one.recall_at_1),
            candidate_text(one),
            number_text(one.prob_best),
            number_text(one.expected_loss),
        )
        rows.append(Row(cells, "best" if one.trial == found.taken else ""))
    head = (
        "trial",
        "rates",
        "seeds",
        f"{metric_title(record.config.sweep.recall_at_1)} of each",
        "mean [95 %, seeds and scenes]",
        "probability of being best",
        "expected loss",
    )
    return Table(head=head, rows=tuple(rows))
