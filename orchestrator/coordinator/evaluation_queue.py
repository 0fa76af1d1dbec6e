"""The queue of rungs that are evaluated by tasks beside training, and the results of those tasks.

A worker stores a rung's weights, submits the rung and trains on. The coordinator's queue starts a
task for each rung, a bounded number at a time, tries a failed one again, and returns what was
found. What the queue forgets when its process dies stands in the store and in the study's
notes, and is submitted again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray

from orchestrator.ray_cluster.task_cancellation import cancel_task
from orchestrator.trial.messages import Rung

MAX_TRIES = 3


@dataclass(frozen=True)
class EvaluatedRung:
    """What an evaluation found, `hits` as `evaluate_rung` has them; `error` says why it found
    nothing, `MAX_TRIES` times.
    """

    rung: Rung
    metrics: dict[str, float] = field(default_factory=dict)
    hits: dict[str, bool] = field(default_factory=dict)
    error: str = ""


def next_rungs(waiting: Sequence[Rung], running: Iterable[Rung], max_at_once: int) -> list[Rung]:
    """Which of the `waiting` rungs to start: first come, first served; of one trial the lower rung
    first, and one at a time.
    """
    running = list(running)
    busy = {rung.number for rung in running}
    chosen: list[Rung] = []
    for rung in sorted(waiting, key=lambda rung: (rung.submitted_at, rung.number, rung.epoch)):
        lower = any(other.number == rung.number and other.epoch < rung.epoch for other in waiting)
        if rung.number not in busy and not lower and len(running) + len(chosen) < max_at_once:
            chosen.append(rung)
            busy.add(rung.number)
    return chosen


class EvaluationQueue:
    """The rungs under way; `start` begins the evaluation of one and returns Ray's future of its
    metrics and its hits. Never waits.
    """

    def __init__(self, start: Callable[[Rung], Any], max_at_once: int) -> None:
        self._start = start
        self._max_at_once = max_at_once
        self._waiting: list[Rung] = []
        self._running: dict[Any, Rung] = {}
        self._tries: Counter[tuple[int, int]] = Counter()

    def submit(self, rung: Rung) -> None:
        """Take a rung; one that is here already is not taken twice."""
        if all(
            (other.number, other.epoch) != (rung.number, rung.epoch)
            for other in (*self._waiting, *self._running.values())
        ):
            self._waiting.append(rung)

    def drop(self, number: int) -> None:
        """Forget a trial's rungs: it has ended."""
        self._waiting = [rung for rung in self._waiting if rung.number != number]
        for future in [future for future, rung in self._running.items() if rung.number == number]:
            del self._running[future]
            cancel_task(future)

    def start_next(self) -> None:
        """Start as many as may run."""
        for rung in next_rungs(self._waiting, self._running.values(), self._max_at_once):
            self._waiting.remove(rung)
            self._tries[rung.number, rung.epoch] += 1
            self._running[self._start(rung)] = rung

    def collect(self) -> list[EvaluatedRung]:
        """What has been found since the last call; a failed evaluation waits for its next try
        instead.
        """
        if not self._running:
            return []
        ready, _ = ray.wait(list(self._running), num_returns=len(self._running), timeout=0)
        return [
            found
            for future in ready
            if (found := self._result(future, self._running.pop(future))) is not None
        ]

    def _result(self, future: Any, rung: Rung) -> EvaluatedRung | None:
        try:
            return EvaluatedRung(rung, *ray.get(future))
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None) or error
            if self._tries[rung.number, rung.epoch] < MAX_TRIES:
                self._waiting.append(rung)
                return None
            return EvaluatedRung(
                rung,
                error=f"{type(cause).__name__}: {(str(cause).strip().splitlines() or [''])[0]}"[
                    :500
                ],
            )
