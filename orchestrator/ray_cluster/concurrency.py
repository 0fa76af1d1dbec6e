"""How many trials run at once and where their rungs are evaluated: read from the cluster, again and
again while a sweep runs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from cluster.capacity import Capacity, ClusterShape, TrialBundle, plan_capacity, read_cluster
from orchestrator.config.run_config import RunConfig
from prp_core.errors import UserError

LOOK_AGAIN_SECONDS = 10.0


@dataclass(frozen=True)
class Room:
    """`capacity` for trials, with what `judging` needs already taken off."""

    capacity: Capacity
    judging: JudgePlan


def plan_room(config: RunConfig) -> Room:
    """The room on the cluster to which Ray is connected. Raises `UserError` with the numbers when
    not even one trial, or no judge, fits.
    """
    return room_on(_read_cluster(), config)


def room_on(shape: ClusterShape, config: RunConfig) -> Room:
    """The room on a cluster of `shape`; pure."""
    alone = _capacity(shape, config, judged_beside=False)
    beside = _capacity(shape, config, judged_beside=True)
    if alone.max_concurrent_trials < 1:
        raise UserError(f"The cluster is too small for one trial: {alone.reason}")
    most = config.sweep.max_concurrent_trials or config.sweep.num_trials
    judging = plan_judging(
        config.sweep.judge,
        trials_alone=min(most, alone.max_concurrent_trials),
        trials_beside=min(most, beside.max_concurrent_trials),
        same_device=config.resources.gpus_per_worker == 0 or config.resources.judge_gpus > 0,
    )
    if judging.where == "worker":
        return Room(alone, judging)
    judge = TrialBundle(1, config.resources.judge_cpus, config.resources.judge_gpus)
    place = plan_capacity(judge, shape)
    if place.max_concurrent_trials < 1:
        raise UserError(
            f"sweep.judge = {config.sweep.judge!r}, but the cluster holds no "
            f"evaluation: {place.reason.replace('one trial', 'one')}"
        )
    # Where a trial and an evaluation do not fit side by side, they take turns: who waits for a
    # verdict holds no CPU and no GPU.
    return Room(beside if beside.max_concurrent_trials else alone, judging)


def check_capacity(config: RunConfig) -> Capacity:
    """How many trials the cluster holds at once. Raises `UserError` with both numbers when not even
    one fits.
    """
    return plan_room(config).capacity


class RoomWatch:
    """How many trials may train at once now; asks the cluster anew every ten seconds, so that a
    sweep grows with it.

    Never less than one trial: a cluster that has shrunk below that is waited for. Where rungs are
    evaluated was settled at the start.
    """

    def __init__(
        self, config: RunConfig, room: Room, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._config = config
        self._judging = room.judging
        self._clock = clock
        self._most = config.sweep.max_concurrent_trials
        self._known = room.capacity.max_concurrent_trials
        self._looked_at = clock()

    def __call__(self) -> int:
        """Trials at once."""
        if self._clock() - self._looked_at >= LOOK_AGAIN_SECONDS:
            capacity = _capacity(
                _read_cluster(), self._config, judged_beside=self._judging.where == "task"
            )
            self._known = max(1, capacity.max_concurrent_trials)
            self._looked_at = self._clock()
        return min(self._known, self._most) if self._most else self._known


def _capacity(shape: ClusterShape, config: RunConfig, *, judged_beside: bool) -> Capacity:
    resources = config.resources
    most = config.sweep.max_concurrent_trials or config.sweep.num_trials
    bundle = TrialBundle(
        resources.num_workers, resources.cpus_per_worker, resources.gpus_per_worker
    )
    alone = plan_capacity(bundle, shape)
    if not judged_beside or alone.max_concurrent_trials < 1:
        return alone
    judges = num_judges(min(most, alone.max_concurrent_trials))
    return plan_capacity(
        bundle, shape, math.ceil(judges * resources.judge_cpus), judges * resources.judge_gpus
    )


def _read_cluster() -> ClusterShape:
    try:
        return read_cluster()
    except ValueError as error:
        raise UserError(str(error)) from None


TRIALS_PER_JUDGE = 4


@dataclass(frozen=True)
class JudgePlan:
    """Where rungs are evaluated: by the ``worker``, or by at most `max_at_once` tasks (``task``);
    `reason` is for a person.
    """

    where: str
    max_at_once: int = 0
    reason: str = ""


JUDGED_BY_WORKERS = JudgePlan("worker", reason="rungs are evaluated by the workers")


def num_judges(num_trials: int) -> int:
    """How many evaluations at a time serve `num_trials` trials at a time."""
    return max(1, math.ceil(num_trials / TRIALS_PER_JUDGE))


def plan_judging(
    judge: str, *, trials_alone: int, trials_beside: int, same_device: bool
) -> JudgePlan:
    """Where rungs are evaluated, by ``sweep.judge``.

    `trials_alone` fit on the cluster when workers judge, `trials_beside` when room for tasks is
    kept; `same_device` says that a task's device is of the workers' kind (a CPU would take hours
    for what a GPU does in a minute).
    """
    tasks = num_judges(max(1, trials_beside))
    if judge == "worker":
        return JUDGED_BY_WORKERS
    if judge == "task":
        return JudgePlan(
            "task",
            tasks,
            f"rungs are evaluated by at most {tasks} tasks at a time while training goes on",
        )
    if not same_device:
        return JudgePlan(
            "worker",
            reason="rungs are evaluated by the workers: resources.judge_gpus is 0 and they "
            "train on GPUs",
        )
    if trials_beside < trials_alone:
        return JudgePlan(
            "worker",
            reason="rungs are evaluated by the workers: the cluster has no room for a task "
            "beside as many trials",
        )
    return JudgePlan(
        "task",
        tasks,
        f"rungs are evaluated by at most {tasks} tasks at a time: the cluster has room "
        "beside the trials",
    )
