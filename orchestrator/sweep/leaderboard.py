"""The last screen of a sweep: the leaderboard with intervals, the baselines, where results are."""

from __future__ import annotations

import dataclasses
import io
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.text import Text

from orchestrator.config.typed_command import prp
from orchestrator.confirmation import Confirmation, ConfirmationOutcome
from orchestrator.report.answer import Answer
from orchestrator.report.findings import interval_at
from orchestrator.report.formatting import joined, metric_title, number_text, share_text
from orchestrator.report.record import BASELINE_TITLES
from orchestrator.report.showcase_choice import SHOWCASE_FILE
from orchestrator.sweep.fitting_table import Column, fitted_table
from orchestrator.sweep.plan import Plan
from orchestrator.sweep.status import name_of_sweep, resume_command
from orchestrator.sweep.trial_rows import value_columns
from orchestrator.tracking.tracking_uri import ui_command
from orchestrator.trial.messages import TrialView
from orchestrator.trial_state import TrialState
from prp_core.evaluation.intervals import MIN_GROUPS, metric_interval

LEADERBOARD_METRICS = {
    "linear_probe/accuracy": "linear probe",
    "label_free/effective_rank": "effective rank",
}
"""Metric -> title of the columns beside the objective."""
WIDEST = 170
WIDEST_STATE = 24  # where the title of a baseline breaks


@dataclass(frozen=True, kw_only=True)
class Ending:
    """Everything that a sweep found.

    `views` are its trials, `winner` the one that is taken (None: none finished), with its encoder
    at `encoder_uri` in the storage and as `model` in MLflow, each empty where it is not there;
    `baselines` are metrics by name; `run_id` is the parent run's (empty: not known yet). `test` and
    `cost` are sentences, empty where there is none. `showcases` are the trials that have one.
    `missing` is each part that failed, with the reason, `waiting` says what waits for MLflow,
    `answer` the sentence of the sweep (None: it could not be made, see `missing`).
    """

    views: Sequence[TrialView]
    winner: TrialView | None
    baselines: Mapping[str, float]
    encoder_uri: str
    model: str
    run_id: str
    confirmation: Confirmation | None = None
    test: str = ""
    cost: str = ""
    showcases: tuple[int, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    waiting: str = ""
    answer: Answer | None = None


def ending_lines(plan: Plan, ending: Ending) -> Iterator[str]:
    """The last screen of a sweep, line by line."""
    objective = plan.config.sweep.objective
    yield ""
    yield leaderboard_text(
        plan, ending, min(WIDEST, shutil.get_terminal_size((WIDEST, 40)).columns)
    )
    if ending.winner is None:
        yield "No trial finished; the reasons are above and in the trials' runs."
    else:
        recognition = ending.winner.metrics.get("recognition/accuracy")
        fine_tuned = "" if recognition is None else f"; fine-tuned recognition {recognition:.3f}"
        if ending.answer is not None:
            yield f"Answer:      {ending.answer.headline}"
            yield from (f"             {note}" for note in ending.answer.notes)
        confirmation = ending.confirmation
        is_tie = confirmation is not None and confirmation.outcome == ConfirmationOutcome.TIE
        is_best = confirmation is None or confirmation.taken == confirmation.candidates[0].trial
        which = "best" if is_best else "cheapest to train"
        why = f" (the {which} of those that tie)" if is_tie else ""
        yield (
            f"Taken:       trial {ending.winner.number}{why}, {objective} "
            f"{trial_text(ending.winner, objective)}{fine_tuned}"
        )
        if ending.test:
            yield ending.test
        places = filter(None, (ending.model, ending.encoder_uri))
        for label, place in zip(("Its encoder:", " " * 12), places, strict=False):
            yield f"{label} {place}"
    yield from data_lines(ending.views)
    if ending.cost:
        yield f"Cost:        {ending.cost.removeprefix('cost ')}"
    yield f"Checkpoints: {plan.spec.folder_uri}"
    yield f"Manifest:    {plan.spec.manifest_uri}"
    if plan.spec.judged_words:
        yield f"Judged on:   {plan.spec.eval_manifest_uri} ({plan.spec.judged_words})"
    yield f"Trials:      {plan.spec.database_url or plan.spec.folder_uri + '/journal'}"
    report = prp(f"report {name_of_sweep(plan.spec)}")
    yield f"Report:      {report} (and report.html in the MLflow run)"
    run = f"run {ending.run_id} at " if ending.run_id else ""
    yield f"MLflow:      {run}{plan.spec.tracking_uri}"
    if ending.showcases:
        yield f"Showcases:   {showcases_line(ending.showcases)}"
    for title, reason in ending.missing.items():
        yield f"Missing:     {title} ({reason})"
    if ending.missing:
        yield f"To add what is missing: {resume_command(plan.spec)}"
    yield f"Open the page with: {prp(f'ui {name_of_sweep(plan.spec)}')}"
    yield f"             or:    {ui_command(plan.spec.tracking_uri)}"
    if ending.waiting:
        yield ending.waiting


def showcases_line(trials: Sequence[int]) -> str:
    """Where the showcases of `trials` (one or more) are."""
    plural = "s" if len(trials) > 1 else ""
    return (
        f"{SHOWCASE_FILE} in the artifacts of the MLflow run{plural} of trial{plural} "
        f"{joined([str(number) for number in trials])}"
    )


def data_lines(views: Sequence[TrialView]) -> Iterator[str]:
    """What the trials lost of their data: quarantined and changed videos; nothing where none."""
    quarantined, changed = (
        max((view.metrics.get(f"data/{name}", 0.0) for view in views), default=0.0)
        for name in ("quarantined", "changed")
    )
    if quarantined:
        yield (
            f"Videos:      a trial left out up to {quarantined:.0f} of them "
            "(data/quarantined in its run; the log names each with its reason)"
        )
    if changed:
        yield (
            f"WARNING:     up to {changed:.0f} of them changed in the store since they "
            "were indexed, so that trials did not all see the same videos; "
            "index again and start a new sweep to compare them"
        )


def leaderboard_text(plan: Plan, ending: Ending, width: int) -> str:
    """The leaderboard within `width`: its title, the table, what did not fit."""
    objective = plan.config.sweep.objective
    title = (
        f"{plan.spec.title}: {objective} on {len(plan.parts.val)} validation videos "
        f"({intervals_words(plan)})"
    )
    console = Console(width=width, file=io.StringIO())
    with console.capture() as capture:
        console.print(Text(title, style="italic"))
        for part in fitted_table(leaderboard_columns(plan, ending), width):
            console.print(part)
    return "\n".join(line.rstrip() for line in capture.get().rstrip().splitlines())


def _metric_columns(
    views: Sequence[TrialView], baselines: Mapping[str, float], names: Sequence[str]
) -> Iterator[Column]:
    """A column for each of `LEADERBOARD_METRICS` that a trial has: `views`, then baselines."""
    for metric, title in LEADERBOARD_METRICS.items():
        if any(metric in view.metrics for view in views):
            values = [view.metrics.get(metric) for view in views]
            values += [baselines.get(f"baseline/{name}/{metric}") for name in names]
            cells = [number_text(value) for value in values]
            yield Column(title=title, cells=cells, rank=9, is_number=True)


def leaderboard_columns(plan: Plan, ending: Ending) -> list[Column]:
    """Finished trials by objective, then pruned and failed ones, then the baselines."""
    objective = plan.config.sweep.objective
    order = {TrialState.FINISHED: 0, TrialState.PRUNED: 1}
    views = sorted(
        ending.views,
        key=lambda view: (order.get(view.state, 2), -_number(view.objective), view.number),
    )
    baselines = [
        (name, title)
        for name, title in BASELINE_TITLES.items()
        if f"baseline/{name}/{objective}" in ending.baselines
    ]
    empty = ["" for _ in baselines]
    return [
        Column(title="trial", cells=[*(str(one.number) for one in views), *empty], rank=0),
        Column(
            title="state",
            cells=[*(one.state for one in views), *(title for _, title in baselines)],
            rank=1,
            wraps_at=WIDEST_STATE,
        ),
        Column(
            title="epochs",
            cells=[*(f"{one.epoch}/{one.num_epochs}" for one in views), *empty],
            rank=3,
            is_number=True,
        ),
        Column(
            title=f"{metric_title(objective)} [95 %]",
            cells=[
                *(trial_text(one, objective) for one in views),
                *(baseline_text(ending, name, objective) for name, _ in baselines),
            ],
            rank=2,
        ),
        *_metric_columns(views, ending.baselines, [name for name, _ in baselines]),
        *(
            dataclasses.replace(column, cells=[*column.cells, *empty])
            for column in value_columns(views, views)
        ),
    ]


def trial_text(view: TrialView, objective: str) -> str:
    """``0.562 [0.433, 0.683]``: a trial's objective with its interval over groups of videos."""
    is_measured = view.state == TrialState.FINISHED or math.isfinite(view.objective)
    value = view.objective if is_measured else None
    return share_text(value, interval_at(view.metrics, objective, view.objective))


def baseline_text(ending: Ending, baseline: str, objective: str) -> str:
    """As `trial_text`, of a baseline."""
    name = f"baseline/{baseline}/{objective}"
    return share_text(ending.baselines.get(name), metric_interval(ending.baselines, name))


def intervals_words(plan: Plan) -> str:
    """What the intervals on the leaderboard are, or why there are none."""
    number = len({record.group for record in plan.parts.val})
    if number < MIN_GROUPS:
        return f"no intervals: {number} groups, and an interval needs {MIN_GROUPS}"
    return f"95 % over {number} groups"


def _number(value: float) -> float:
    return -math.inf if math.isnan(value) else value
