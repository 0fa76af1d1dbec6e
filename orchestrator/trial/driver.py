"""One trial on the cluster: Ray Tune calls `run_trial`, which trains with Ray Train and tells the
coordinator how it ended.

Tune never stops a trial here (it would leak the placement group of the nested run): a pruned
trial's workers leave together, `fit` returns, and its resources are free. Each attempt has a fresh
Ray Train name, because what a trial resumes from is its own checkpoint folder and never Ray's
snapshot.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher

from orchestrator.config.run_config import parse_config
from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.ray_cluster.worker_group import fit_workers
from orchestrator.trial.messages import TrialOutcome, TrialTask
from orchestrator.trial_state import TrialState
from prp_core.errors import PrpError

_LOGGER = logging.getLogger(__name__)

# A trial's driver only waits. It asks for memory instead of a CPU, so that every CPU is left to
# training.
DRIVER_RESOURCES = {"memory": 256 << 20}

DRIVER_DIED = TrialOutcome(
    TrialState.FAILED,
    "the process that drove the trial died more often than Tune restarts it, see Ray's logs",
)

# How many controllers of Ray Train a trial may use up; on a busy machine one may not come up in its
# time.
MAX_CONTROLLERS = 3

# How often a sweep whose places are taken looks whether one is free.
ROOM_SECONDS = 0.5


def run_trial(config: Mapping[str, Any], *, spec: SweepSpec, coordinator: Any) -> dict[str, float]:
    """Run the trial that `config["task"]` describes to its end, whatever that end is. Never raises
    for what happened to the trial.
    """
    task: TrialTask = config["task"]
    try:
        outcome = TrialOutcome(**train_patiently(task, spec, coordinator))
        if task.evaluator == "task" and outcome.state == TrialState.FINISHED:
            outcome = wait_for_last_rung(task, coordinator)
    # one trial's failure never ends the sweep; the reason is told
    except Exception as error:  # noqa: BLE001
        outcome = TrialOutcome(TrialState.FAILED, failure_reason(error))
    ray.get(coordinator.tell.remote(task.number, outcome))
    if task.evaluator == "task":
        forget_stored_rungs(task, spec)
    return {"number": float(task.number)}


def train_patiently(task: TrialTask, spec: SweepSpec, coordinator: Any) -> dict[str, Any]:
    """As `train`, once more when Ray Train's own controller died: what it ran with is lost, what
    the trial had committed is not.
    """
    for _ in range(MAX_CONTROLLERS - 1):
        try:
            return train(task, spec, coordinator)
        except ray.exceptions.RayActorError as error:
            _LOGGER.warning(
                "trial %d: its controller died (%s); starting it again",
                task.number,
                failure_reason(error),
            )
    return train(task, spec, coordinator)


def wait_for_last_rung(
    task: TrialTask, coordinator: Any, pause_seconds: float = 0.5
) -> TrialOutcome:
    """How the trial ends by its last evaluation. Only this process waits, which holds neither a CPU
    nor a GPU.
    """
    while (outcome := ray.get(coordinator.final_outcome.remote(task.number))) is None:
        time.sleep(pause_seconds)
    return outcome


def forget_stored_rungs(task: TrialTask, spec: SweepSpec) -> None:
    """Remove the weights of the trial's rungs, which nothing reads any more; a store that is away
    keeps them, said aloud.
    """
    from orchestrator.trial.worker import forget_rungs

    try:
        forget_rungs(spec, parse_config(task.config), task.number)
    except PrpError as error:
        _LOGGER.warning(
            "trial %d: the weights of its rungs stay where they are: %s", task.number, error
        )


def train(task: TrialTask, spec: SweepSpec, coordinator: Any) -> dict[str, Any]:
    """Train with Ray Train; the first worker's outcome. Raises Ray Train's error when its retries
    are used up.
    """
    from orchestrator.trial.worker import train_worker

    work = {
        "spec": spec,
        "number": task.number,
        "config": task.config,
        "coordinator": coordinator,
        "evaluator": task.evaluator,
    }
    config = parse_config(task.config)
    name = f"{spec.sweep_id}-{task.number:04d}"
    return fit_workers(
        train_worker,
        work,
        config,
        state_dir=Path(spec.state_dir),
        name=name,
        max_failures=config.resources.max_failures,
    )


def failure_reason(error: BaseException) -> str:
    """One line for a person: the innermost cause that Ray wrapped."""
    failures = getattr(error, "worker_failures", None)
    cause: BaseException = (
        next(iter(failures.values())) if failures else getattr(error, "controller_failure", error)
    )
    cause = getattr(cause, "cause", None) or cause.__cause__ or cause
    lines = str(cause).strip().splitlines() or [""]
    return f"{type(cause).__name__}: {lines[-1] if 'Traceback' in lines[0] else lines[0]}"[:500]


class CoordinatorSearcher(Searcher):
    """Tune's view of the coordinator: a suggestion is a trial that the study asked for. Tune's own
    state is never restored.

    `room` says how many trials may train at once *now*; it is asked again while the sweep runs, so
    that a cluster that grows is used.
    """

    def __init__(
        self, coordinator: Any, room: Callable[[], int], clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(metric=None, mode=None)
        self._coordinator = coordinator
        self._room = room
        self._clock = clock
        self._not_before = -1.0
        self._running: dict[str, int] = {}

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """Nothing to set: the space and the objective belong to the study."""
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial's task; None while there is no room or the budget waits for running
        trials, Tune's word for the end when none will start.
        """
        if self._clock() < self._not_before:
            return None
        if len(self._running) - ray.get(self._coordinator.num_waiting.remote()) >= self._room():
            return self._later()
        word = ray.get(self._coordinator.gate.remote()).word
        if word != "start":
            return self._later() if word == "wait" else Searcher.FINISHED
        task = ray.get(self._coordinator.ask.remote())
        self._running[trial_id] = task.number
        return {"task": task}

    def _later(self) -> dict[str, Any] | None:
        self._not_before = self._clock() + ROOM_SECONDS
        return None

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Its place is free. The trial told the coordinator itself, unless the process that drove
        it died more often than Tune restarts it.
        """
        number = self._running.pop(trial_id)
        if error:
            ray.get(self._coordinator.tell.remote(number, DRIVER_DIED))

    def save(self, checkpoint_path: str) -> None:
        """The study's database is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """The study's database is the state."""


def run_trials(
    spec: SweepSpec,
    coordinator: Any,
    *,
    num_trials: int,
    max_concurrent: int | Callable[[], int],
    verbose: bool,
) -> None:
    """Run `num_trials` trials through Ray Tune, at most `max_concurrent` at once (a function: asked
    while they run); returns at their end.
    """
    room: Callable[[], int] = max_concurrent if callable(max_concurrent) else lambda: max_concurrent
    trainable = tune.with_resources(
        tune.with_parameters(run_trial, spec=spec, coordinator=coordinator), DRIVER_RESOURCES
    )
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=CoordinatorSearcher(coordinator, room),
            num_samples=num_trials,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=f"{spec.sweep_id}-{uuid.uuid4().hex[:6]}",
            storage_path=str(Path(spec.state_dir) / "ray-tune"),
            verbose=1 if verbose else 0,
            failure_config=tune.FailureConfig(max_failures=2),
        ),
    )
    tuner.fit()
