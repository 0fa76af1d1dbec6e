"""The end of a sweep: confirm the best, measure the winner, register its encoder, write the pages.

Each part may fail alone (`end_parts.py`). What was measured is kept as notes of the sweep, so that
a resumed sweep measures nothing twice and makes up what is missing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import ray

from orchestrator.config.run_config import parse_config
from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.confirmation import Confirmation, best_trials, read_verdicts
from orchestrator.coordinator.coordinator import CoordinatorHandle
from orchestrator.journal.sweep_folder import REPORT, encoder_key
from orchestrator.report.answer import Answer, answer, confirmed_word, verdict_word
from orchestrator.report.descriptions import model_card, sweep_description
from orchestrator.report.objections import objection_of_search, objection_of_verdicts
from orchestrator.report.record import BASELINE_TITLES, SweepRecord
from orchestrator.search.space import apply_space
from orchestrator.storage.open_store import open_store
from orchestrator.sweep.confirm_run import confirm
from orchestrator.sweep.early_baselines import BASELINES, EarlyBaselines
from orchestrator.sweep.end_parts import EndParts
from orchestrator.sweep.final_evaluation import (
    export_encoders,
    export_winner,
    measure_recognition,
    measure_time_panel,
    record_cost,
)
from orchestrator.sweep.held_out_part import measure_test_once, tree_of
from orchestrator.sweep.leaderboard import Ending
from orchestrator.sweep.plan import Plan
from orchestrator.sweep.showcase_run import begin_showcases
from orchestrator.tracking.encoder_file import CARD_NAME, WEIGHTS_NAME
from orchestrator.tracking.run_names import trial_run
from orchestrator.tracking.tags import ANSWER_TAG, CONFIRMED_TAG, NOTE_TAG, VERDICT_TAG
from orchestrator.trial.messages import TrialView
from orchestrator.trial_state import TrialState
from prp_core.evaluation.time_panel import SHARE_NEEDING_TIME

Say = Callable[[str], None]


def finish(
    plan: Plan,
    coordinator: CoordinatorHandle,
    max_concurrent: int,
    parts: EndParts,
    early: EarlyBaselines,
    say: Say,
) -> Ending:
    """Everything after the last trial, and the closing of the parent run.

    `max_concurrent` confirming runs train at once; `early` may have started the baselines, and
    `parts` keeps what was found. A winner is the confirmed trial, or the best finished one where
    nothing is confirmed; the test part is measured for a confirmed one alone. The other tasks on
    the winner start together. A part that fails ends nothing: it is named in `Ending.missing`, and
    a resume makes it up.
    """
    views: list[TrialView] = ray.get(coordinator.screen.views.remote())
    scores = scores_of(views)
    confirmation = parts.attempt(
        "the confirmation",
        lambda: confirm(plan, coordinator, scores, rates_of(plan, views), max_concurrent, say),
        None,
    )
    taken = confirmation.taken if confirmation else next(iter(best_trials(scores, 1)), None)
    winner = next((view for view in views if view.number == taken), None)
    validation = begin_validation(plan, coordinator, winner, parts, early, say)
    others = begin_other_encoders(plan, coordinator, views, taken, parts)
    pages = begin_pages(plan, coordinator, views, taken, parts, say)
    baselines, encoder = validation()
    others()
    test = ""
    if winner and confirmation:
        test = parts.attempt(
            "the test part",
            lambda: measure_test_once(plan, coordinator, winner, confirmation, say),
            "",
        )
    model = ""
    if winner and encoder:
        objection = objection_to(plan, coordinator, winner, confirmation, baselines)
        model = register(coordinator, winner, objection, parts)
    showcases = pages()
    found = keep_answer(plan, coordinator, parts)
    ending = Ending(
        views=views,
        winner=winner,
        baselines=baselines,
        encoder_uri=encoder,
        model=model,
        run_id=ray.get(coordinator.recorder.sweep_run_id.remote()),
        confirmation=confirmation,
        test=test,
        cost=ray.get(coordinator.screen.cost_line.remote(is_over=True)),
        showcases=tuple(showcases),
        missing=parts.missing,
        answer=found,
    )
    return replace(ending, waiting=ray.get(coordinator.recorder.close.remote("finished")))


def scores_of(views: Sequence[TrialView]) -> dict[int, float]:
    """The objective of each finished trial that has a number as one."""
    return {
        view.number: view.objective
        for view in views
        if view.state == TrialState.FINISHED and math.isfinite(view.objective)
    }


def rates_of(plan: Plan, views: Sequence[TrialView]) -> dict[int, str]:
    """The rate set of each trial."""
    return {
        view.number: apply_space(plan.config, view.values).pretext.playback_rate.rates
        for view in views
    }


def begin_pages(
    plan: Plan,
    coordinator: CoordinatorHandle,
    views: Sequence[TrialView],
    taken: int | None,
    parts: EndParts,
    say: Say,
) -> Callable[[], list[int]]:
    """Start the showcases of the best trials; what waits for them returns the trials that have
    one.
    """
    nothing: list[int] = []
    wait = parts.attempt(
        "showcases",
        lambda: begin_showcases(plan, coordinator, views, taken, say),
        lambda: nothing,
    )
    return lambda: parts.attempt("showcases", wait, nothing)


def begin_validation(
    plan: Plan,
    coordinator: CoordinatorHandle,
    winner: TrialView | None,
    parts: EndParts,
    early: EarlyBaselines,
    say: Say,
) -> Callable[[], tuple[Mapping[str, float], str]]:
    """What waits for (the baselines' metrics on the validation part, where `winner`'s encoder
    lies), whose tasks are started.

    `winner` is fine-tuned for recognition as well, and its time panel is measured; without one the
    URI is empty. What an earlier start measured is not measured again.
    """
    spec = plan.spec

    def started(future: Any, kind: str, number: int, line: str) -> Callable[[], dict[str, float]]:
        say(line)
        return lambda: collected(plan, coordinator, future, kind, number)

    baselines = parts.once(
        BASELINES,
        "the baselines",
        lambda: started(early.future(), "baseline", -1, "measuring baselines on the same split"),
        {},
    )
    if winner is None:
        return lambda: (logged_baselines(coordinator, baselines()), "")
    number = winner.number
    tree = tree_of(plan, winner)
    export = parts.once(
        f"encoder/{number}",
        f"the encoder of trial {number}",
        lambda: started(
            export_winner(spec, number, tree),
            "export",
            number,
            f"exporting trial {number}'s encoder",
        ),
        None,
        lambda: has_encoder(plan, number),
    )
    panel = _panel_of_time(spec, winner, tree, parts, started)
    recognition = _fine_tuning(spec, number, tree, parts, started)

    def collect() -> tuple[Mapping[str, float], str]:
        metrics = logged_baselines(coordinator, baselines())
        uri = "" if export() is None else f"{spec.folder_uri}/{encoder_key(number)}"
        measured: dict[str, float] = {**panel(), **recognition()}
        if measured:
            winner.metrics.update(measured)
            ray.get(coordinator.recorder.log_trial.remote(number, measured))
        return metrics, uri

    return collect


def begin_other_encoders(
    plan: Plan,
    coordinator: CoordinatorHandle,
    views: Sequence[TrialView],
    taken: int | None,
    parts: EndParts,
) -> Callable[[], None]:
    """Start to export the encoders of all finished trials but the one that was `taken`; what waits
    for them makes them logged models, so that MLflow ranks them by retrieval.
    """
    others = {
        view.number: tree_of(plan, view)
        for view in views
        if view.state == TrialState.FINISHED and view.number != taken
    }
    if not others:
        return lambda: None

    def start() -> Callable[[], dict[str, float]]:
        future = export_encoders(plan.spec, others)
        return lambda: collected(plan, coordinator, future, "export", -1)

    exported = parts.once(
        f"encoders/{len(others)}/{max(others)}",
        "the encoders of the other finished trials",
        start,
        None,
        lambda: all(has_encoder(plan, number) for number in others),
    )

    def log() -> None:
        if exported() is not None:
            for number in others:
                ray.get(coordinator.recorder.log_encoder.remote(number, encoder_key(number)))

    return log


def has_encoder(plan: Plan, number: int) -> bool:
    """Whether trial `number`'s encoder lies in the sweep's folder. Raises what the store raises."""
    store = open_store(plan.spec.folder_uri, plan.config.store, check=False)
    names = {info.key.rpartition("/")[2] for info in store.list(f"{encoder_key(number)}/")}
    return {CARD_NAME, WEIGHTS_NAME} <= names


def _fine_tuning(
    spec: SweepSpec,
    number: int,
    tree: dict[str, Any],
    parts: EndParts,
    started: Callable[[Any, str, int, str], Callable[[], dict[str, float]]],
) -> Callable[[], dict[str, float]]:
    """The metrics of trial `number` fine-tuned for recognition, as `started` has them; none where
    its config leaves that out.
    """
    if parse_config(tree).evaluation.recognition is None:
        return dict
    return parts.once(
        f"recognition/{number}",
        f"the recognition of trial {number}",
        lambda: started(
            measure_recognition(spec, number, tree),
            "recognition",
            number,
            f"fine-tuning trial {number} for recognition",
        ),
        {},
    )


def _panel_of_time(
    spec: SweepSpec,
    winner: TrialView,
    tree: dict[str, Any],
    parts: EndParts,
    started: Callable[[Any, str, int, str], Callable[[], dict[str, float]]],
) -> Callable[[], dict[str, float]]:
    """The time panel of `winner`, as `started` has it; none where its config leaves that out, or
    where it was measured as a constraint.
    """
    number = winner.number
    if parse_config(tree).evaluation.time_panel is None or SHARE_NEEDING_TIME in winner.metrics:
        return dict
    return parts.once(
        f"time-panel/{number}",
        f"the time panel of trial {number}",
        lambda: started(
            measure_time_panel(spec, number, tree),
            "time_panel",
            number,
            f"measuring whether trial {number} needs the order of frames",
        ),
        {},
    )


def collected(
    plan: Plan, coordinator: CoordinatorHandle, future: Any, kind: str, number: int
) -> dict[str, float]:
    """The metrics of a task of the final evaluation, when it has ended; its cost is booked."""
    found = ray.get(future)
    record_cost(plan.config, coordinator, kind, number, found)
    if found.points:
        ray.get(coordinator.recorder.log_again.remote(trial_run(number), found.points))
    return found.metrics


def logged_baselines(
    coordinator: CoordinatorHandle, metrics: Mapping[str, float]
) -> Mapping[str, float]:
    """`metrics`, after writing them into the baselines' runs and the parent run."""
    if metrics:
        ray.get(coordinator.recorder.log_baselines.remote(metrics, BASELINE_TITLES))
    return metrics


def objection_to(
    plan: Plan,
    coordinator: CoordinatorHandle,
    winner: TrialView,
    confirmation: Confirmation | None,
    baselines: Mapping[str, float],
) -> str:
    """What speaks against calling `winner`'s encoder the best one, by the test part, else by the
    confirmation, else by the search's own figures; empty: nothing.
    """
    note = json.loads(ray.get(coordinator.recorder.note.remote("confirmation")) or "{}")
    kept = read_verdicts(note.get("test_baselines") or note.get("baselines") or ())
    if confirmation is not None and kept:
        return objection_of_verdicts(kept)
    return objection_of_search(
        winner.metrics, winner.objective, baselines, plan.config.sweep.objective
    )


def register(
    coordinator: CoordinatorHandle, winner: TrialView, objection: str, parts: EndParts
) -> str:
    """Where `winner`'s encoder loads from MLflow, called the best unless there is an `objection`;
    empty where MLflow could not take it.
    """
    number = winner.number
    key = encoder_key(number)
    return parts.attempt(
        f"the registration of trial {number}'s encoder in MLflow",
        lambda: ray.get(coordinator.recorder.register_winner.remote(number, key, objection)),
        "",
    )


def keep_answer(plan: Plan, coordinator: CoordinatorHandle, parts: EndParts) -> Answer | None:
    """Store the sweep's page in its folder, and tell MLflow of it and of the sweep's answer, which
    is returned (None: it could not be made).
    """

    def write() -> Answer:
        from orchestrator.report.page import make_report  # a second that the start saves

        ray.get(coordinator.recorder.flush.remote())
        report = make_report(plan.spec)
        store = open_store(plan.spec.folder_uri, plan.config.store, check=False)
        store.write(REPORT, report.html.encode())
        ray.get(coordinator.recorder.send_sweep_file.remote(REPORT))
        for name, svg in report.figures.items():
            ray.get(coordinator.recorder.log_sweep_text.remote(f"figures/{name}.svg", svg))
        return describe(coordinator, report.record)

    return parts.attempt("the report", write, None)


def describe(coordinator: CoordinatorHandle, record: SweepRecord) -> Answer:
    """Tell MLflow the answer of the sweep of `record`, which is returned: the parent run's tags and
    description, and the card of the encoder that was taken.
    """
    found = answer(record)
    tags = {
        ANSWER_TAG: found.headline,
        CONFIRMED_TAG: confirmed_word(record),
        VERDICT_TAG: verdict_word(record),
        NOTE_TAG: sweep_description(record, found),
    }
    ray.get(coordinator.recorder.tag_sweep.remote(tags))
    if record.taken is not None:
        card = model_card(record, found)
        ray.get(coordinator.recorder.describe_encoder.remote(record.taken.number, card))
    return found
