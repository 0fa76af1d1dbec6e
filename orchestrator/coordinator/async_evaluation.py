"""Asynchronous evaluation: rungs that are evaluated by tasks while their trials train on.

A trial is stopped at the rung that was evaluated, with that rung's value, however far its training
is by then: nothing of a later rung is recorded after the decision. All of it can be read from the
study's database, so a restarted coordinator knows which trials were stopped and which rungs are
still to be evaluated.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace

from orchestrator.coordinator.evaluation_queue import EvaluatedRung, EvaluationQueue
from orchestrator.coordinator.pruning import Pruning
from orchestrator.search.pruner import PruningDecision
from orchestrator.search.study import SweepStudy
from orchestrator.trial.messages import Rung

RecordRung = Callable[[Rung, Mapping[str, float]], None]

# Notes of a trial in the study: + epoch, a rung that was submitted (`Rung` as JSON), and why one
# could not be evaluated; the metrics of its last rung (JSON).
SUBMITTED = "submitted/"
UNEVALUATED = "unevaluated/"
FINAL_METRICS = "final_metrics"


class AsyncEvaluation:
    """The rungs of a sweep's trials from their submission to the pruning decision."""

    def __init__(
        self,
        study: SweepStudy,
        pruning: Pruning,
        queue: EvaluationQueue,
        record: RecordRung,
        *,
        objective: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`objective` is the metric that is reported to the study; `record` is called with a rung
        and its metrics before the decision on it is made.
        """
        self._study = study
        self._pruning = pruning
        self._queue = queue
        self._record = record
        self._objective = objective
        self._clock = clock
        self._num_epochs: dict[int, int] = {}
        self._submitted: dict[int, dict[int, Rung]] = {}
        self._stopped: dict[int, str] = {}
        self._failed: dict[int, str] = {}

    def begin(self, number: int, num_epochs: int) -> None:
        """Trial `number` runs for `num_epochs` epochs."""
        self._num_epochs[number] = num_epochs

    def recover(self, number: int, num_epochs: int) -> None:
        """Read back from the study what an earlier coordinator knew of running trial `number`.

        Decisions are made (or found) again; rungs that were not evaluated are queued again.
        """
        self.begin(number, num_epochs)
        notes = self._study.notes(number)
        scores = self._study.scores()[number]
        rungs = [
            Rung(**json.loads(text)) for name, text in notes.items() if name.startswith(SUBMITTED)
        ]
        self._submitted[number] = {rung.epoch: rung for rung in rungs}
        for epoch in sorted(scores):
            self._decide(number, epoch)
        for rung in sorted(rungs, key=lambda rung: rung.epoch):
            error = notes.get(f"{UNEVALUATED}{rung.epoch}")
            if error and rung.is_last:
                self._failed[number] = failure_of_last_rung(error)
            elif not error and rung.epoch not in scores and number not in self._stopped:
                self._queue.submit(replace(rung, submitted_at=self._clock()))

    def submit_rung(self, number: int, epoch: int, step: int, key: str) -> None:
        """Queue a rung; submitted again, or of a trial that was stopped, nothing changes."""
        known = self._submitted.setdefault(number, {})
        if epoch in known or number in self._stopped or number not in self._num_epochs:
            return
        rung = Rung(number, epoch, step, key, epoch >= self._num_epochs[number], self._clock())
        self._study.set_note(number, f"{SUBMITTED}{epoch}", json.dumps(asdict(rung)))
        known[epoch] = rung
        self._queue.submit(rung)

    def advance(self) -> None:
        """Apply the results that came since the last call and start what may run; never waits."""
        for found in self._queue.collect():
            self._apply(found)
        self._queue.start_next()

    def stop_reason(self, number: int) -> str | None:
        """Why trial `number` is to stop; None: it goes on."""
        return self._stopped.get(number)

    def failure(self, number: int) -> str | None:
        """Why the final value of trial `number` cannot be had; None: it can."""
        return self._failed.get(number)

    def final_metrics(self, number: int) -> dict[str, float] | None:
        """The metrics after the last epoch of trial `number`; None: not yet evaluated."""
        notes = self._study.notes(number)
        scores = self._study.scores()[number]
        if self._num_epochs[number] not in scores or FINAL_METRICS not in notes:
            return None
        return json.loads(notes[FINAL_METRICS])

    def is_trained(self, number: int) -> bool:
        """Whether trial `number` has reached its last epoch, so that it holds no worker any
        more.
        """
        return any(rung.is_last for rung in self._submitted.get(number, {}).values())

    def end(self, number: int) -> None:
        """Trial `number` has ended; what is under way for it is of no use."""
        self._queue.drop(number)
        self._num_epochs.pop(number, None)
        self._submitted.pop(number, None)

    def _apply(self, found: EvaluatedRung) -> None:
        rung = found.rung
        if rung.number not in self._num_epochs or rung.number in self._stopped:
            return
        if found.error:
            self._apply_failure(rung, found.error)
            return
        if rung.is_last:
            self._study.set_note(rung.number, FINAL_METRICS, json.dumps(found.metrics))
        lag = self._clock() - rung.submitted_at
        # First: a rung of which the study has the value is not evaluated again.
        self._record(rung, {**found.metrics, "evaluation/lag_seconds": lag})
        value = found.metrics[self._objective]
        self._pruning.report(rung.number, rung.epoch, value, found.hits)
        self._decide(rung.number, rung.epoch)
        self._decide_overtaken(rung.epoch)
        if not rung.is_last and rung.number not in self._stopped:
            by_budget = self._pruning.decide_by_budget(rung.number, rung.epoch)
            if by_budget is not None:
                self._obey(rung.number, by_budget)

    def _apply_failure(self, rung: Rung, error: str) -> None:
        self._study.set_note(rung.number, f"{UNEVALUATED}{rung.epoch}", error)
        self._record(rung, {"evaluation/failed_rungs": 1.0})
        if rung.is_last:
            self._failed[rung.number] = failure_of_last_rung(error)

    def _decide(self, number: int, epoch: int) -> None:
        submitted = self._submitted.get(number, {})
        last_epoch = self._num_epochs[number]
        self._obey(number, self._pruning.decide_late(number, epoch, last_epoch, submitted))

    def _decide_overtaken(self, epoch: int) -> None:
        training = {
            number: last_epoch
            for number, last_epoch in self._num_epochs.items()
            if number not in self._stopped and not self.is_trained(number)
        }
        for number, decision in self._pruning.decide_overtaken(epoch, training).items():
            self._obey(number, decision)

    def _obey(self, number: int, decision: PruningDecision) -> None:
        if not decision.go_on:
            self._stopped[number] = decision.reason
            self._queue.drop(number)


def failure_of_last_rung(error: str) -> str:
    """Why a trial whose last rung could not be evaluated has failed."""
    return f"its last rung could not be evaluated: {error}"
