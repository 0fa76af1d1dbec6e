"""The driver of one trial: a Ray Tune trainable that trains with Ray Train and reports the end.

Ray Tune never stops a trial here (it would leak the placement group of the nested run): a pruned
trial's workers leave together, `fit` returns, and its resources are free. Each attempt is a run of
Ray Train with a fresh name, which Ray Train does not repeat: a trial resumes from its own
checkpoint folder and never from Ray's snapshot, and whether it is tried again is for the
coordinator to say, which counts failures since the newest checkpoint.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

import ray

from orchestrator.config.run_config import parse_config
from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.ray_cluster.composed_actor import PartHandle
from orchestrator.ray_cluster.worker_failures import failure_reason, is_nodes_failure
from orchestrator.ray_cluster.worker_group import fit_workers
from orchestrator.storage.open_store import open_store
from orchestrator.trial.messages import (
    Answer,
    Attempt,
    Failure,
    Sender,
    TrialOutcome,
    TrialTask,
)
from orchestrator.trial_state import TrialState
from prp_core.errors import PrpError, StoreError
from prp_core.training.checkpoint_record import newest_step

_LOGGER = logging.getLogger(__name__)

# A driver only waits. It asks for memory instead of a CPU, so that every CPU is left to training
# (docs/experiments.md).
DRIVER_RESOURCES = {"memory": 512 << 20}

TOLD_TO_LEAVE = "its workers were told to stop although no other attempt had begun"
FINAL_OUTCOME_SECONDS = 0.5  # between two questions for the outcome of the last evaluation


def run_trial(
    config: Mapping[str, Any], *, spec: SweepSpec, trials: PartHandle
) -> dict[str, float]:
    """Run the trial that `config["task"]` describes to its end, whatever that end is.

    `trials` is the coordinator's trial desk. Never raises for what happened to the trial.
    """
    task: TrialTask = config["task"]
    driver = TrialDriver(task, spec, trials)
    try:
        outcome = driver.train()
    # one trial's failure never ends the sweep; the reason is told
    except Exception as error:  # noqa: BLE001
        outcome = TrialOutcome(TrialState.FAILED, failure_reason(error))
    if outcome is not None:
        driver.tell(outcome)
    return {"number": float(task.number)}


class TrialDriver:
    """Drives the trial of `task`, attempt after attempt. Told to leave, because another driver has
    the trial, it changes nothing any more.
    """

    def __init__(self, task: TrialTask, spec: SweepSpec, trials: PartHandle) -> None:
        self._task = task
        self._spec = spec
        self._trials = trials
        self._config = parse_config(task.config)
        self._sender = task.sender

    def train(self) -> TrialOutcome | None:
        """Train until an attempt has an outcome or there is no other attempt; None: leave."""
        while True:
            attempt: Attempt = ray.get(
                self._trials.begin_attempt.remote(self._sender, self._committed_step())
            )
            if attempt.sender is None:
                return TrialOutcome(TrialState.FAILED, attempt.failure) if attempt.failure else None
            self._sender = attempt.sender
            outcome = self._attempt()
            if isinstance(outcome, Failure):
                _LOGGER.warning("trial %d: %s", self._sender.number, outcome.cause)
                ray.get(self._trials.attempt_failed.remote(self._sender, outcome))
            elif self._task.evaluator == "task" and outcome.state == TrialState.FINISHED:
                return self._wait_for_last_rung()
            else:
                return outcome

    def tell(self, outcome: TrialOutcome) -> None:
        """Tell the coordinator how the trial ended, and remove what nothing reads any more."""
        answer = ray.get(self._trials.tell.remote(self._sender, outcome))
        if answer != Answer.LEAVE and self._task.evaluator == "task":
            remove_stored_rungs(self._task, self._spec)

    def _attempt(self) -> TrialOutcome | Failure:
        try:
            found = train(self._task, self._sender, self._spec, self._trials)
        # whatever it was, the coordinator decides whether to try again
        except Exception as error:  # noqa: BLE001
            return Failure(failure_reason(error), is_nodes=is_nodes_failure(error))
        return TrialOutcome(**found) if found else Failure(TOLD_TO_LEAVE)

    def _committed_step(self) -> int:
        """The step of the newest checkpoint; 0 where there is none, or where the store is away."""
        try:
            store = open_store(self._spec.folder_uri, self._config.store, check=False)
            return newest_step(store, self._spec.checkpoints_folder(self._task.number))
        except StoreError as error:
            _LOGGER.warning("trial %d: %s", self._task.number, error)
            return 0

    def _wait_for_last_rung(self) -> TrialOutcome | None:
        """How the trial ends by its last evaluation; None: leave. Only this process waits, which
        holds neither a CPU nor a GPU.
        """
        while True:
            answer = ray.get(self._trials.final_outcome.remote(self._sender))
            if isinstance(answer, TrialOutcome):
                return answer
            if answer == Answer.LEAVE:
                return None
            time.sleep(FINAL_OUTCOME_SECONDS)


def train(
    task: TrialTask, sender: Sender, spec: SweepSpec, trials: PartHandle
) -> dict[str, Any] | None:
    """Train with Ray Train as the attempt `sender`; the first worker's outcome, the fields of a
    `TrialOutcome`, or None where the workers were told to leave.

    Raises Ray Train's error when workers or their nodes are lost, and when a worker raises.
    """
    work = {
        "spec": spec,
        "sender": sender,
        "config": task.config,
        "trials": trials,
        "evaluator": task.evaluator,
        "continues": task.continues,
    }
    return fit_workers(
        train_on_worker,
        work,
        parse_config(task.config),
        state_dir=spec.state_dir,
        name=f"{spec.sweep_id}-{task.number:04d}",
        max_failures=0,
    )


def train_on_worker(work: Mapping[str, Any]) -> dict[str, Any] | None:
    """As `train_worker`, whose torch is imported where it runs: this process, which is handed the
    function, does without.
    """
    from orchestrator.trial.worker import train_worker

    return train_worker(work)


def remove_stored_rungs(task: TrialTask, spec: SweepSpec) -> None:
    """Remove the weights of the trial's rungs, which nothing reads any more; where the store is
    away they stay, with a warning.
    """
    try:
        store = open_store(spec.folder_uri, parse_config(task.config).store, check=False)
        for info in list(store.list(f"{spec.rungs_folder(task.number)}/")):
            store.delete(info.key)
    except PrpError as error:
        _LOGGER.warning(
            "trial %d: the weights of its rungs could not be removed: %s", task.number, error
        )
