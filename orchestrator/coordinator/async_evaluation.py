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
from typing import Any

from orchestrator.config.run_config import RunConfig
from orchestrator.coordinator.evaluation_queue import EvaluatedRung, EvaluationQueue
from orchestrator.search.pruner import PruningDecision, PruningRule
from orchestrator.search.study import SweepStudy
from orchestrator.trial.messages import Rung

Record = Callable[[Rung, Mapping[str, float]], None]


class AsyncEvaluation:
    """The asynchronous evaluation of one sweep.

    `record` tells the tracker and the screen what a rung scored; `num_epochs` is each running
    trial's.

    `beyond_budget` says of a trial (number, epoch of its rung) why the way to its next rung is not
    paid for; empty when it is.
    """

    def __init__(
        self,
        study: SweepStudy,
        config: RunConfig,
        start: Callable[[Rung], Any],
        max_at_once: int,
        *,
        record: Record,
        num_epochs: Mapping[int, int],
        beyond_budget: Callable[[int, int], str] = lambda number, epoch: "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._study = study
        self._config = config
        self._rule = PruningRule(config.sweep.pruner, config.training.reduction_factor)
        self._record = record
        self._clock = clock
        self._beyond_budget = beyond_budget
        self._queue = EvaluationQueue(start, max_at_once)
        self._num_epochs = dict(num_epochs)
        self._submitted: dict[int, dict[int, Rung]] = {}
        self._stopped: dict[int, str] = {}
        self._unevaluated: dict[int, str] = {}
        for number in sorted(num_epochs):
            self._recover(number)

    def begin(self, number: int, num_epochs: int) -> None:
        """Trial `number` runs for `num_epochs` epochs."""
        self._num_epochs[number] = num_epochs

    def submit_rung(self, number: int, epoch: int, step: int, key: str) -> None:
        """Queue a rung; submitted again, or of a trial that was stopped, nothing changes."""
        known = self._submitted.setdefault(number, {})
        if epoch in known or number in self._stopped or number not in self._num_epochs:
            return
        rung = Rung(number, epoch, step, key, epoch >= self._num_epochs[number], self._clock())
        self._study.set_note(number, f"submitted/{epoch}", json.dumps(asdict(rung)))
        known[epoch] = rung
        self._queue.submit(rung)

    def advance(self) -> None:
        """Apply what was found since the last call and start what may run; never waits."""
        for found in self._queue.collect():
            self._apply(found)
        self._queue.start_next()

    def stop_reason(self, number: int) -> str | None:
        """Why trial `number` is to stop; None: it goes on."""
        return self._stopped.get(number)

    def failure(self, number: int) -> str | None:
        """Why the final value of trial `number` cannot be had; None: it can."""
        return self._unevaluated.get(number)

    def final_metrics(self, number: int) -> dict[str, float] | None:
        """What was found after the last epoch of trial `number`; None: not yet."""
        notes = self._study.notes(number)
        scores = self._study.scores()[number]
        return (
            json.loads(notes["final_metrics"])
            if self._num_epochs[number] in scores and "final_metrics" in notes
            else None
        )

    def is_over(self, number: int) -> bool:
        """Whether trial `number` holds no worker any more: it has reached its last epoch."""
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
            self._study.set_note(rung.number, f"unevaluated/{rung.epoch}", found.error)
            self._record(rung, {"evaluation/failed_rungs": 1.0})
            if rung.is_last:
                self._unevaluated[rung.number] = (
                    f"its last rung could not be evaluated: {found.error}"
                )
            return
        if rung.is_last:
            self._study.set_note(rung.number, "final_metrics", json.dumps(found.metrics))
        self._study.report(rung.number, rung.epoch, found.metrics[self._config.sweep.objective])
        self._record(
            rung, {**found.metrics, "evaluation/lag_seconds": self._clock() - rung.submitted_at}
        )
        self._decide(rung.number, rung.epoch)
        self._look_back(rung.epoch)
        if not rung.is_last and rung.number not in self._stopped:
            self._hold_to_budget(rung.number, rung.epoch)

    def _decide(self, number: int, epoch: int) -> None:
        self._obey(
            number,
            self._study.decide_late(
                number,
                epoch,
                self._rule,
                last_epoch=self._num_epochs[number],
                submitted=self._submitted.get(number, {}),
            ),
        )

    def _hold_to_budget(self, number: int, epoch: int) -> None:
        reason = self._beyond_budget(number, epoch)
        if reason:
            decision = PruningDecision(False, f"rung {epoch}: {reason}")
            self._study.set_decision(number, epoch, decision)
            self._obey(number, decision)

    def _look_back(self, epoch: int) -> None:
        running = {
            number: last
            for number, last in self._num_epochs.items()
            if number not in self._stopped and not self.is_over(number)
        }
        decisions = self._study.decide_overtaken(epoch, running, self._rule)
        for number, decision in decisions.items():
            self._obey(number, decision)

    def _obey(self, number: int, decision: PruningDecision) -> None:
        if not decision.go_on:
            self._stopped[number] = decision.reason
            self._queue.drop(number)

    def _recover(self, number: int) -> None:
        """Read back what an earlier coordinator knew of a running trial: its rungs that were
        evaluated, and those still to be.
        """
        notes = self._study.notes(number)
        scores = self._study.scores()[number]
        rungs = [
            Rung(**json.loads(text))
            for name, text in notes.items()
            if name.startswith("submitted/")
        ]
        self._submitted[number] = {rung.epoch: rung for rung in rungs}
        for epoch in sorted(scores):
            self._decide(number, epoch)
        for rung in sorted(rungs, key=lambda rung: rung.epoch):
            unevaluated = notes.get(f"unevaluated/{rung.epoch}")
            if unevaluated and rung.is_last:
                self._unevaluated[number] = f"its last rung could not be evaluated: {unevaluated}"
            elif not unevaluated and rung.epoch not in scores and number not in self._stopped:
                self._queue.submit(replace(rung, submitted_at=self._clock()))
