"""Concurrency: how many trials run at once and where rungs are evaluated, by cluster resources."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from cluster.capacity import Capacity, ClusterShape, TrialBundle, plan_capacity, read_cluster
from orchestrator.config.run_config import RunConfig
from prp_core.errors import UserError

REFRESH_SECONDS = 10.0
TRIALS_PER_EVALUATOR = 4


@dataclass(frozen=True)
class EvaluationPlan:
    """Where rungs are evaluated: by the ``worker``, or by at most `max_at_once` tasks (``task``);
    `reason` is for a person.
    """

    where: str
    max_at_once: int = 0
    reason: str = ""


EVALUATED_BY_WORKERS = EvaluationPlan("worker", reason="rungs are evaluated by the workers")


@dataclass(frozen=True)
class ConcurrencyPlan:
    """The `capacity` for trials, less what `evaluation` needs."""

    capacity: Capacity
    evaluation: EvaluationPlan


def plan_concurrency(config: RunConfig) -> ConcurrencyPlan:
    """The plan for the cluster to which Ray is connected. Raises `UserError` with the numbers when
    not even one trial, or no evaluation task, fits.
    """
    return plan_concurrency_on(_read_cluster(), config)


def plan_concurrency_on(shape: ClusterShape, config: RunConfig) -> ConcurrencyPlan:
    """The plan for a cluster of `shape`; pure, raises as `plan_concurrency`."""
    alone = _capacity(shape, config, with_tasks=False)
    beside = _capacity(shape, config, with_tasks=True)
    if alone.max_concurrent_trials < 1:
        raise UserError(f"The cluster is too small for one trial: {alone.reason}")
    most = config.sweep.max_concurrent_trials or config.sweep.num_trials
    evaluation = plan_evaluation(
        config.sweep.evaluator,
        trials_alone=min(most, alone.max_concurrent_trials),
        trials_beside=min(most, beside.max_concurrent_trials),
        same_device=config.resources.gpus_per_worker == 0 or config.resources.evaluator_gpus > 0,
    )
    if evaluation.where == "worker":
        return ConcurrencyPlan(alone, evaluation)
    task = TrialBundle(1, config.resources.evaluator_cpus, config.resources.evaluator_gpus)
    task_capacity = plan_capacity(task, shape)
    if task_capacity.max_concurrent_trials < 1:
        raise UserError(
            f"sweep.evaluator = {config.sweep.evaluator!r}, but the cluster holds no "
            f"evaluation: {task_capacity.reason.replace('one trial', 'one')}"
        )
    # Where a trial and an evaluation do not fit side by side, they take turns: a trial that waits
    # for its evaluation holds no CPU and no GPU.
    return ConcurrencyPlan(beside if beside.max_concurrent_trials else alone, evaluation)


def check_capacity(config: RunConfig) -> Capacity:
    """How many trials the cluster holds at once. Raises `UserError` with both numbers when not even
    one fits.
    """
    return plan_concurrency(config).capacity


class ConcurrencyLimit:
    """How many trials may run at once, refreshed from the cluster's resources.

    The cluster is read again every `REFRESH_SECONDS`, so that a sweep grows with it. Never less
    than one: a cluster that has shrunk below one trial is waited for. Where rungs are evaluated was
    settled by `plan`.
    """

    def __init__(
        self, config: RunConfig, plan: ConcurrencyPlan, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._config = config
        self._evaluation = plan.evaluation
        self._clock = clock
        self._most = config.sweep.max_concurrent_trials
        self._known = plan.capacity.max_concurrent_trials
        self._read_at = clock()

    def __call__(self) -> int:
        """Trials at once, at least 1."""
        if self._clock() - self._read_at >= REFRESH_SECONDS:
            with_tasks = self._evaluation.where == "task"
            capacity = _capacity(_read_cluster(), self._config, with_tasks=with_tasks)
            self._known = max(1, capacity.max_concurrent_trials)
            self._read_at = self._clock()
        return min(self._known, self._most) if self._most else self._known


def num_evaluators(num_trials: int) -> int:
    """How many concurrent evaluation tasks serve `num_trials` concurrent trials."""
    return max(1, math.ceil(num_trials / TRIALS_PER_EVALUATOR))


def plan_evaluation(
    evaluator: str, *, trials_alone: int, trials_beside: int, same_device: bool
) -> EvaluationPlan:
    """Where rungs are evaluated, by `evaluator`: ``worker``, ``task`` or ``auto``.

    `trials_alone` fit on the cluster when workers evaluate, `trials_beside` when resources for
    tasks are reserved; `same_device` says that a task's device is of the workers' kind (a CPU would
    take hours for what a GPU does in a minute).
    """
    tasks = num_evaluators(max(1, trials_beside))
    if evaluator == "worker":
        return EVALUATED_BY_WORKERS
    if evaluator == "task":
        return EvaluationPlan(
            "task",
            tasks,
            f"rungs are evaluated by at most {tasks} tasks at a time while training goes on",
        )
    if not same_device:
        return EvaluationPlan(
            "worker",
            reason="rungs are evaluated by the workers: resources.evaluator_gpus is 0 and they "
            "train on GPUs",
        )
    if trials_beside < trials_alone:
        return EvaluationPlan(
            "worker",
            reason="rungs are evaluated by the workers: the cluster has no room for a task "
            "beside as many trials",
        )
    return EvaluationPlan(
        "task",
        tasks,
        f"rungs are evaluated by at most {tasks} tasks at a time: the cluster has room "
        "beside the trials",
    )


def _capacity(shape: ClusterShape, config: RunConfig, *, with_tasks: bool) -> Capacity:
    resources = config.resources
    most = config.sweep.max_concurrent_trials or config.sweep.num_trials
    bundle = TrialBundle(
        resources.num_workers, resources.cpus_per_worker, resources.gpus_per_worker
    )
    alone = plan_capacity(bundle, shape)
    if not with_tasks or alone.max_concurrent_trials < 1:
        return alone
    tasks = num_evaluators(min(most, alone.max_concurrent_trials))
    return plan_capacity(
        bundle, shape, math.ceil(tasks * resources.evaluator_cpus), tasks * resources.evaluator_gpus
    )


def _read_cluster() -> ClusterShape:
    try:
        return read_cluster()
    except ValueError as error:
        raise UserError(str(error)) from None
