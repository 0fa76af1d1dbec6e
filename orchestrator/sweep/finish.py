"""The end of a sweep: confirm the best, measure the winner, register its encoder, write the pages.

What was measured is kept as notes of the sweep and in MLflow, so that a resumed sweep measures
nothing twice.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import ray

from orchestrator.config.run_config import to_tree
from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.confirmation import best_trials
from orchestrator.coordinator.coordinator import CoordinatorHandle
from orchestrator.search.space import apply_space
from orchestrator.sweep.confirm_run import confirm
from orchestrator.sweep.final_evaluation import (
    measure_baselines,
    measure_test,
    measure_winner,
    record_cost,
)
from orchestrator.sweep.leaderboard import Ending
from orchestrator.sweep.plan import Plan
from orchestrator.sweep.showcase_run import keep_showcases
from orchestrator.trial.messages import TrialView
from orchestrator.trial_state import TrialState

Say = Callable[[str], None]


def finish(plan: Plan, coordinator: CoordinatorHandle, max_concurrent: int, say: Say) -> Ending:
    """Everything after the last trial, and the closing of the parent run.

    `max_concurrent` confirming runs train at once. A winner is the confirmed trial, or the best
    finished one where nothing is confirmed; the test part is measured for a confirmed one alone.
    """
    views: list[TrialView] = ray.get(coordinator.screen.views.remote())
    scores = {view.number: view.objective for view in views if view.state == TrialState.FINISHED}
    rates = {
        view.number: apply_space(plan.config, view.values).pretext.playback_rate.rates
        for view in views
    }
    confirmation = confirm(plan, coordinator, scores, rates, max_concurrent, say)
    taken = confirmation.taken if confirmation else next(iter(best_trials(scores, 1)), None)
    winner = next((view for view in views if view.number == taken), None)
    baselines, model_uri = measure_validation(plan, coordinator, winner, say)
    test = measure_test_once(plan, coordinator, winner, say) if winner and confirmation else ""
    showcases = keep_showcases(plan, coordinator, views, taken, say)
    ending = Ending(
        views=views,
        winner=winner,
        baselines=baselines,
        model_uri=model_uri,
        run_id=ray.get(coordinator.recorder.sweep_run_id.remote()),
        confirmation=confirmation,
        test=test,
        cost=ray.get(coordinator.screen.cost_line.remote(is_over=True)),
        showcases=tuple(showcases),
    )
    keep_report(plan.spec, coordinator, say)
    ray.get(coordinator.recorder.close.remote("finished"))
    return ending


def measure_validation(
    plan: Plan, coordinator: CoordinatorHandle, winner: TrialView | None, say: Say
) -> tuple[Mapping[str, float], str]:
    """(the baselines' metrics on the validation part, the URI of `winner`'s registered encoder).

    `winner` is fine-tuned for recognition as well; without one the URI is empty.
    """
    say(
        "measuring baselines on the same split"
        + ("" if winner is None else f", fine-tuning trial {winner.number} for recognition")
    )
    pending = [measure_baselines(plan.spec)]
    if winner is not None:
        pending.append(measure_winner(plan.spec, winner.number, tree_of(plan, winner)))
    baselines, *winners = ray.get(pending)
    recorder = coordinator.recorder
    record_cost(plan.config, coordinator, "baseline", -1, baselines)
    ray.get(recorder.log_sweep.remote(baselines.metrics))
    if winner is None:
        return baselines.metrics, ""
    (found,) = winners
    record_cost(plan.config, coordinator, "recognition", winner.number, found)
    winner.metrics.update(found.metrics)
    ray.get(recorder.log_trial.remote(winner.number, found.metrics))
    model_uri = ray.get(recorder.register_winner.remote(winner.number, found.files))
    return baselines.metrics, model_uri


def measure_test_once(
    plan: Plan, coordinator: CoordinatorHandle, winner: TrialView, say: Say
) -> str:
    """The figures of the test part, measured for `winner` once in the life of the sweep, as a line.

    Kept as the sweep's note ``test`` (and within ``confirmation``) with the time, which is also the
    tag ``prp.test_touched``; asked again, the stored figures are shown.
    """
    recorder = coordinator.recorder
    stored = ray.get(recorder.note.remote("test"))
    if stored is None:
        if not plan.parts.test:
            return "Test part:   empty, nothing was measured on it"
        say(f"measuring trial {winner.number} on the test part, once")
        found = ray.get(measure_test(plan.spec, winner.number, tree_of(plan, winner)))
        record_cost(plan.config, coordinator, "test", winner.number, found)
        when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(found.ended))
        stored = json.dumps({"trial": winner.number, "time": when, "metrics": found.metrics})
        ray.get(recorder.note.remote("test", stored))
        ray.get(recorder.log_trial.remote(winner.number, found.metrics))
        ray.get(recorder.log_sweep.remote(found.metrics))
    test = json.loads(stored)
    confirmation = json.loads(ray.get(recorder.note.remote("confirmation")) or "{}")
    confirmation["test"] = test["metrics"]
    ray.get(recorder.note.remote("confirmation", json.dumps(confirmation)))
    touched = f"{test['time']}, trial {test['trial']}"
    ray.get(recorder.tag_sweep.remote({"prp.test_touched": touched}))
    return line_of_test_part(test, winner.number, plan.config.sweep.objective)


def tree_of(plan: Plan, view: TrialView) -> dict[str, Any]:
    """The config of a trial as a plain dict."""
    return to_tree(apply_space(plan.config, view.values))


def line_of_test_part(test: Mapping[str, Any], winner: int, objective: str) -> str:
    """The stored figures of the test part as a line; says so where they are not `winner`'s."""
    metrics = test["metrics"]
    names = {
        "": objective,
        "random initialisation ": f"baseline/random_init/{objective}",
        "fine-tuned recognition ": "recognition/accuracy",
    }
    figures = [
        f"{title}{metrics[f'test/{name}']:.3f}"
        for title, name in names.items()
        if f"test/{name}" in metrics
    ]
    other = (
        ""
        if test["trial"] == winner
        else f"; they are not trial {winner}'s: the test part is measured once"
    )
    return (
        f"Test part:   trial {test['trial']}, {objective} {', '.join(figures)} "
        f"(measured once, {test['time']}{other})"
    )


def keep_report(spec: SweepSpec, coordinator: CoordinatorHandle, say: Say) -> None:
    """Store the sweep's page in the parent run; where it cannot be written, say how to get it."""
    from orchestrator.report.page import sweep_page  # matplotlib, which the start does not wait for

    try:
        ray.get(coordinator.recorder.flush.remote())
        ray.get(coordinator.recorder.log_sweep_text.remote("report.html", sweep_page(spec)))
    # hours of training end well whatever a picture runs into; the person is told
    except Exception as error:  # noqa: BLE001
        reason = " ".join(str(error).split())[:300]
        say(
            f"the report was not written ({reason}); write it with: "
            f"uv run prp report {spec.sweep_id}"
        )
