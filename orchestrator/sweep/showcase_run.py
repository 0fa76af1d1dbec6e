"""Cluster tasks that make a showcase page for each of a sweep's best trials."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray

from orchestrator.config.run_config import parse_config, to_tree
from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.coordinator.coordinator import CoordinatorHandle
from orchestrator.ray_cluster.worker_failures import failure_reason
from orchestrator.report.formatting import joined
from orchestrator.report.showcase_choice import SHOWCASE_FILE, trials_to_show
from orchestrator.search.space import apply_space
from orchestrator.sweep.final_evaluation import (
    Evaluated,
    on_cluster,
    record_cost,
)
from orchestrator.sweep.plan import Plan
from orchestrator.trial.messages import TrialView
from orchestrator.trial_state import TrialState

NOTE = "showcases"  # of the sweep: the numbers of the trials that have one


def begin_showcases(
    plan: Plan,
    coordinator: CoordinatorHandle,
    views: Sequence[TrialView],
    taken: int | None,
    say: Callable[[str], None],
) -> Callable[[], list[int]]:
    """Start to make the missing showcases; what waits for them, stores each in its trial's run and
    returns the trials that have one.

    Numbers ascend. A showcase that cannot be made ends nothing: one line says why, and a resume
    tries again.
    """
    scores = {view.number: view.objective for view in views if view.state == TrialState.FINISHED}
    there = set(json.loads(ray.get(coordinator.recorder.note.remote(NOTE)) or "[]"))
    missing = [
        number
        for number in trials_to_show(scores, plan.config.showcase.num_trials, taken)
        if number not in there
    ]
    if missing:
        plural = "s" if len(missing) > 1 else ""
        say(
            f"making the showcase{plural} of trial{plural} "
            f"{joined([str(number) for number in missing])}"
        )
    values = {view.number: view.values for view in views}
    pending = {
        number: make_showcase(
            plan.spec, number, to_tree(apply_space(plan.config, values[number])), values[number]
        )
        for number in missing
    }

    def keep() -> list[int]:
        for number, page in pending.items():
            try:
                found = ray.get(page)
                record_cost(plan.config, coordinator, "showcase", number, found)
                ray.get(
                    coordinator.recorder.log_trial_text.remote(
                        number, SHOWCASE_FILE, found.files[SHOWCASE_FILE].decode()
                    )
                )
            # hours of training end well whatever a picture runs into; the person is told
            except Exception as error:  # noqa: BLE001
                say(f"trial {number} has no showcase: {failure_reason(error)}")
                continue
            there.add(number)
            ray.get(coordinator.recorder.note.remote(NOTE, json.dumps(sorted(there))))
        return sorted(there)

    return keep


def make_showcase(
    spec: SweepSpec, number: int, tree: Mapping[str, Any], values: Mapping[str, Any]
) -> Any:
    """Start the task that makes trial `number`'s page; a future of `Evaluated`.

    The page is its file `SHOWCASE_FILE`. `tree` is the trial's config, `values` what its
    space suggested.
    """
    return on_cluster(parse_config(tree), _showcase).remote(spec, number, dict(tree), dict(values))


def _showcase(
    spec: SweepSpec, number: int, tree: dict[str, Any], values: dict[str, Any]
) -> Evaluated:
    from orchestrator.sweep.showcase_task import showcase_of_trial  # torch, which the driver lacks

    return Evaluated({}, {SHOWCASE_FILE: showcase_of_trial(spec, number, tree, values).encode()})
