"""Rungs that are evaluated beside training: which are to be started, the tasks that run them, and what became of each.

A worker stores a rung's weights, hands the rung in and trains on. The server keeps a `JudgeDesk`: it starts a task for each rung, a bounded
number at a time, tries a failed one again, and hands over what was found. What the desk forgets when its process dies stands in the store
and in the study's notes, and is handed in again.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray

from orchestrator.run_config import parse_config
from orchestrator.sweep_spec import SweepSpec

MAX_TRIES = 3
TRIALS_PER_JUDGE = 4


@dataclass(frozen=True)
class Rung:
    """Trial `number` after `epoch` epochs and `step` steps; its encoder's weights lie under `key` of the sweep's folder."""

    number: int
    epoch: int
    step: int
    key: str
    is_last: bool
    handed_in_at: float = 0.0


@dataclass(frozen=True)
class Judged:
    """What an evaluation found; `error` says why it found nothing, `MAX_TRIES` times."""

    rung: Rung
    metrics: dict[str, float] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True)
class JudgePlan:
    """Where rungs are evaluated: by the ``worker``, or by at most `max_at_once` tasks (``task``); `reason` is for a person."""

    where: str
    max_at_once: int = 0
    reason: str = ""


JUDGED_BY_WORKERS = JudgePlan("worker", reason="rungs are evaluated by the workers")


def num_judges(num_trials: int) -> int:
    """How many evaluations at a time serve `num_trials` trials at a time."""
    return max(1, math.ceil(num_trials / TRIALS_PER_JUDGE))


def plan_judging(judge: str, *, trials_alone: int, trials_beside: int, same_device: bool) -> JudgePlan:
    """Where rungs are evaluated, by ``sweep.judge``.

    `trials_alone` fit on the cluster when workers judge, `trials_beside` when room for tasks is kept; `same_device` says that a task's
    device is of the workers' kind (a CPU would take hours for what a GPU does in a minute).
    """
    tasks = num_judges(max(1, trials_beside))
    if judge == "worker":
        return JUDGED_BY_WORKERS
    if judge == "task":
        return JudgePlan("task", tasks, f"rungs are evaluated by at most {tasks} tasks at a time while training goes on")
    if not same_device:
        return JudgePlan("worker", reason="rungs are evaluated by the workers: resources.judge_gpus is 0 and they train on GPUs")
    if trials_beside < trials_alone:
        return JudgePlan("worker", reason="rungs are evaluated by the workers: the cluster has no room for a task beside as many trials")
    return JudgePlan("task", tasks, f"rungs are evaluated by at most {tasks} tasks at a time: the cluster has room beside the trials")


def next_rungs(waiting: Sequence[Rung], running: Iterable[Rung], max_at_once: int) -> list[Rung]:
    """Which of the `waiting` rungs to start: first come, first served; of one trial the lower rung first, and one at a time."""
    running = list(running)
    busy = {rung.number for rung in running}
    chosen: list[Rung] = []
    for rung in sorted(waiting, key=lambda rung: (rung.handed_in_at, rung.number, rung.epoch)):
        lower = any(other.number == rung.number and other.epoch < rung.epoch for other in waiting)
        if rung.number not in busy and not lower and len(running) + len(chosen) < max_at_once:
            chosen.append(rung)
            busy.add(rung.number)
    return chosen


class JudgeDesk:
    """The rungs under way; `start` begins the evaluation of one and returns Ray's future of its metrics. Never waits."""

    def __init__(self, start: Callable[[Rung], Any], max_at_once: int) -> None:
        self._start, self._max_at_once = start, max_at_once
        self._waiting: list[Rung] = []
        self._running: dict[Any, Rung] = {}
        self._tries: Counter[tuple[int, int]] = Counter()

    def hand_in(self, rung: Rung) -> None:
        """Take a rung; one that is here already is not taken twice."""
        if all((other.number, other.epoch) != (rung.number, rung.epoch) for other in (*self._waiting, *self._running.values())):
            self._waiting.append(rung)

    def drop(self, number: int) -> None:
        """Forget a trial's rungs: it has ended."""
        self._waiting = [rung for rung in self._waiting if rung.number != number]
        for future in [future for future, rung in self._running.items() if rung.number == number]:
            del self._running[future]
            ray.cancel(future, force=True)

    def start_next(self) -> None:
        """Start as many as may run."""
        for rung in next_rungs(self._waiting, self._running.values(), self._max_at_once):
            self._waiting.remove(rung)
            self._tries[rung.number, rung.epoch] += 1
            self._running[self._start(rung)] = rung

    def collect(self) -> list[Judged]:
        """What has been found since the last call; a failed evaluation waits for its next try instead."""
        if not self._running:
            return []
        ready, _ = ray.wait(list(self._running), num_returns=len(self._running), timeout=0)
        return [judged for future in ready if (judged := self._result(future, self._running.pop(future))) is not None]

    def _result(self, future: Any, rung: Rung) -> Judged | None:
        try:
            return Judged(rung, ray.get(future))
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None) or error
            if self._tries[rung.number, rung.epoch] < MAX_TRIES:
                self._waiting.append(rung)
                return None
            return Judged(rung, error=f"{type(cause).__name__}: {(str(cause).strip().splitlines() or [''])[0]}"[:500])


def start_on_cluster(spec: SweepSpec, rung: Rung, config: dict[str, Any]) -> Any:
    """Start the task that evaluates `rung` of the trial with `config`; a future of its metrics."""
    resources = parse_config(config).resources
    options = {"num_cpus": resources.judge_cpus, "num_gpus": resources.judge_gpus, "max_retries": 2}
    return ray.remote(evaluate_rung).options(**options).remote(spec, rung, config)


def evaluate_rung(spec: SweepSpec, rung: Rung, tree: dict[str, Any]) -> dict[str, float]:
    """Retrieval of the validation part by the encoder of `rung`; at the last rung the linear probe as well. What a worker would find."""
    import time  # and what loads torch: the server, which starts this task, does without

    from orchestrator.storage.open_store import open_store
    from orchestrator.worker import open_data
    from prp_core.evaluation.downstream import evaluate_encoder
    from prp_core.training.encoder_export import rebuild_encoder
    from prp_core.training.rung_weights import read_rung
    from prp_core.world import World, best_device, use_threads

    started, config = time.perf_counter(), parse_config(tree)
    use_threads(max(1, int(config.resources.judge_cpus)))
    world = World.alone(best_device() if config.resources.judge_gpus else "cpu")
    encoder = rebuild_encoder(config.encoder.name, read_rung(open_store(spec.folder_uri, config.store, check=False), rung.key))
    with open_data(spec, config) as data:
        metrics = evaluate_encoder(
            encoder.to(world.device),
            config.clip,
            config.evaluation,
            gallery=data.parts.train,
            queries=data.parts.val,
            source=data.source,
            world=world,
            with_probe=rung.is_last,
        )
    return {**metrics, "time/evaluation_seconds": time.perf_counter() - started}
