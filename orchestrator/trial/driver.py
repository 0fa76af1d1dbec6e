"""The driver of one trial: a Ray Tune trainable that trains with Ray Train and reports the end.

Ray Tune never stops a trial here (it would leak the placement group of the nested run): a pruned
trial's workers leave together, `fit` returns, and its resources are free. Each attempt has a fresh
Ray Train name, because a trial resumes from its own checkpoint folder and never from Ray's
snapshot.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray

from orchestrator.config.run_config import parse_config
from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.ray_cluster.composed_actor import PartHandle
from orchestrator.ray_cluster.worker_group import fit_workers
from orchestrator.trial.messages import TrialOutcome, TrialTask
from orchestrator.trial_state import TrialState
from prp_core.errors import PrpError

_LOGGER = logging.getLogger(__name__)

# A driver only waits. It asks for memory instead of a CPU, so that every CPU is left to training.
DRIVER_RESOURCES = {"memory": 256 << 20}

DRIVER_DIED = TrialOutcome(
    TrialState.FAILED,
    "the process that drove the trial died more often than Tune restarts it, see Ray's logs",
)

# How many controllers of Ray Train a trial may use up; on a busy machine one may not come up in its
# time.
MAX_CONTROLLERS = 3

FINAL_OUTCOME_SECONDS = 0.5  # between two questions for the outcome of the last evaluation


def run_trial(
    config: Mapping[str, Any], *, spec: SweepSpec, trials: PartHandle
) -> dict[str, float]:
    """Run the trial that `config["task"]` describes to its end, whatever that end is.

    `trials` is the coordinator's trial desk. Never raises for what happened to the trial.
    """
    task: TrialTask = config["task"]
    try:
        outcome = TrialOutcome(**train_with_new_controllers(task, spec, trials))
        if task.evaluator == "task" and outcome.state == TrialState.FINISHED:
            outcome = wait_for_last_rung(task, trials)
    # one trial's failure never ends the sweep; the reason is told
    except Exception as error:  # noqa: BLE001
        outcome = TrialOutcome(TrialState.FAILED, failure_reason(error))
    ray.get(trials.tell.remote(task.number, outcome))
    if task.evaluator == "task":
        remove_stored_rungs(task, spec)
    return {"number": float(task.number)}


def train_with_new_controllers(
    task: TrialTask, spec: SweepSpec, trials: PartHandle
) -> dict[str, Any]:
    """As `train`, again when Ray Train's own controller died: what it ran with is lost, what the
    trial had committed is not.
    """
    for _ in range(MAX_CONTROLLERS - 1):
        try:
            return train(task, spec, trials)
        except ray.exceptions.RayActorError as error:
            _LOGGER.warning(
                "trial %d: its controller died (%s); starting it again",
                task.number,
                failure_reason(error),
            )
    return train(task, spec, trials)


def train(task: TrialTask, spec: SweepSpec, trials: PartHandle) -> dict[str, Any]:
    """Train with Ray Train; the first worker's outcome, the fields of a `TrialOutcome`.

    Raises Ray Train's error when its retries are used up.
    """
    from orchestrator.trial.worker import train_worker

    config = parse_config(task.config)
    work = {
        "spec": spec,
        "number": task.number,
        "config": task.config,
        "trials": trials,
        "evaluator": task.evaluator,
    }
    return fit_workers(
        train_worker,
        work,
        config,
        state_dir=Path(spec.state_dir),
        name=f"{spec.sweep_id}-{task.number:04d}",
        max_failures=config.resources.max_failures,
    )


def wait_for_last_rung(task: TrialTask, trials: PartHandle) -> TrialOutcome:
    """How the trial ends by its last evaluation. Only this process waits, which holds neither a CPU
    nor a GPU.
    """
    while (outcome := ray.get(trials.final_outcome.remote(task.number))) is None:
        time.sleep(FINAL_OUTCOME_SECONDS)
    return outcome


def remove_stored_rungs(task: TrialTask, spec: SweepSpec) -> None:
    """Remove the weights of the trial's rungs, which nothing reads any more; where the store is
    away they stay, with a warning.
    """
    from orchestrator.trial.worker import remove_trial_rungs

    try:
        remove_trial_rungs(spec, parse_config(task.config), task.number)
    except PrpError as error:
        _LOGGER.warning(
            "trial %d: the weights of its rungs stay where they are: %s", task.number, error
        )


def failure_reason(error: BaseException) -> str:
    """The innermost cause that Ray wrapped in `error`, in one line of at most 500 characters."""
    failures = getattr(error, "worker_failures", None)
    cause: BaseException = (
        next(iter(failures.values())) if failures else getattr(error, "controller_failure", error)
    )
    cause = getattr(cause, "cause", None) or cause.__cause__ or cause
    lines = str(cause).strip().splitlines() or [""]
    return f"{type(cause).__name__}: {lines[-1] if 'Traceback' in lines[0] else lines[0]}"[:500]
