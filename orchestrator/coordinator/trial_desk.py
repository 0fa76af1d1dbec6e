"""The trial desk: what the drivers and workers of trials, and Ray Tune's searcher, call.

A trial is asked for, logs, is decided on at its rungs and is told: the study first, so that what
was answered is never forgotten, then the account and the records. Every message says which attempt
sends it; one of an outdated attempt is answered with "leave" and changes nothing.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from orchestrator.config.run_config import to_tree
from orchestrator.coordinator.async_evaluation import SUBMITTED, AsyncEvaluation
from orchestrator.coordinator.attempts import Attempts
from orchestrator.coordinator.evaluation_queue import EvaluationQueue
from orchestrator.coordinator.outcome_checks import checked
from orchestrator.coordinator.pruning import Pruning, rule_of
from orchestrator.coordinator.steering_notes import PAUSED, TRIAL_STOPPED
from orchestrator.coordinator.sweep_state import CoordinatorSetup, SweepState
from orchestrator.cost.account import TaskCost, trial_owner
from orchestrator.cost.budget import Admission, Gate
from orchestrator.cost.ledger import EVALUATION
from orchestrator.cost.meter import Held
from orchestrator.data.health_line import advice_of
from orchestrator.search.extension import num_extending
from orchestrator.search.space import Fit, apply_space
from orchestrator.tracking.record_log import PointsHeld
from orchestrator.tracking.run_names import trial_run
from orchestrator.trial.evaluate_rung import start_evaluation
from orchestrator.trial.messages import (
    Answer,
    Attempt,
    Failure,
    Rung,
    Sender,
    TrialOutcome,
    TrialTask,
)
from orchestrator.trial_state import TrialState
from prp_core.reporting import Points

NO_HITS: Mapping[str, bool] = {}
EVALUATOR = "evaluator"  # the note of a trial: who evaluates its rungs


class TrialDesk:
    """Every method returns at once, with small plain values, and raises nothing for what a caller
    says; told twice, nothing changes.
    """

    def __init__(self, state: SweepState, setup: CoordinatorSetup) -> None:
        self._spec = state.spec
        self._base = state.base
        self._journal = state.journal
        self._study = state.study
        self._table = state.table
        self._account = state.account
        self._recorder = state.recorder
        self._limits = setup.limits
        self._evaluator = setup.evaluation.where
        self._attempts = Attempts(self._study, self._base.resources.max_failures)
        self._ended: set[int] = set()
        self._chooser = ThreadPoolExecutor(1, thread_name_prefix="chooser")
        self._choice: Future[None] | None = None
        sweep = self._base.sweep
        rule = rule_of(self._base, setup.queries)
        self._pruning = Pruning(self._study, self._account, rule)
        running = self._table.in_state(TrialState.RUNNING)
        needs_tasks = any(self._evaluator_of(view.number) == "task" for view in running)
        self._evaluation = AsyncEvaluation(
            self._study,
            self._pruning,
            EvaluationQueue(
                self._start_evaluation, max(setup.evaluation.max_at_once, int(needs_tasks))
            ),
            self._record_evaluation,
            objective=sweep.objective,
        )
        for view in running:
            self._evaluation.recover(view.number, view.num_epochs)

    # ---- for the searcher, which starts trials

    def num_left(self) -> int:
        """How many trials are still to be run to reach ``sweep.num_trials``, and the extensions;
        those that a dead driver left behind are among them.
        """
        asked = num_extending(self._study.trials())
        return max(0, self._base.sweep.num_trials - self._study.num_told()) + asked

    def num_over(self) -> int:
        """How many trials have ended, whatever they count for."""
        return sum(view.state.is_over for view in self._table.views())

    def gate(self) -> Gate:
        """Whether a new trial may start, by the budget and by who paused the sweep."""
        paused = self._study.sweep_note(PAUSED)
        return Gate(Admission.WAIT, paused) if paused else self._account.gate()

    def num_waiting(self) -> int:
        """How many running trials hold no worker any more and wait for their last evaluation."""
        return sum(self._evaluation.is_trained(number) for number in self._study.handed_out())

    def num_to_start(self) -> int:
        """How many of those are still to be handed out."""
        return max(0, self.num_left() - len(self._study.handed_out()))

    def choose(self, slot: str) -> bool:
        """Whether `ask` by `slot` has its trial ready. Where it has not, a thread chooses one: that
        takes the sampler a second after a thousand trials, and decisions go on meanwhile.
        """
        if self._choice is not None:
            if not self._choice.done():
                return False
            choice = self._choice
            self._choice = None
            choice.result()
        if self._study.is_chosen(slot):
            return True
        self._choice = self._chooser.submit(self._study.choose, self._fits)
        return False

    def ask(self, slot: str = "") -> TrialTask:
        """The next trial for `slot` (empty: one that nobody else has), new or left behind by a
        driver that died. A slot that asks again gets the same trial.
        """
        if self._choice is not None:  # else two would be chosen at once
            choice = self._choice
            self._choice = None
            choice.result()
        proposal = self._study.ask(self._fits, slot)
        number = proposal.number
        config = apply_space(self._base, proposal.values)
        self._recorder.start_trial(proposal, config)
        self._table.open(proposal, config.training.num_epochs)
        extension = self._study.extension(number)
        if extension:
            self._account.begins_at(number, extension.trained_epochs)
        self._account.on_requested(trial_owner(number), config)
        self._evaluation.begin(number, config.training.num_epochs)
        evaluator = self._evaluator_of(number)
        self._study.set_note(number, EVALUATOR, evaluator)
        return TrialTask(
            number,
            to_tree(config),
            proposal.is_resumed,
            evaluator,
            proposal.hand_out.epoch,
            proposal.hand_out.attempt,
            extension.trial if extension else None,
        )

    def driver_died(self, slot: str) -> None:
        """The driver of the trial that `slot` asked for has died: the trial is handed out again."""
        number = self._attempts.lose_driver(slot)
        if number is not None:
            self._account.on_ended(trial_owner(number))

    def release_all(self) -> None:
        """No trial has a driver any more: those that have not ended are handed out again."""
        for number in self._attempts.release_all():
            self._account.on_ended(trial_owner(number))

    # ---- for the workers, which train

    def workers_started(self, sender: Sender) -> Answer:
        """The workers of an attempt run."""
        if not self._is_heard(sender):
            return Answer.LEAVE
        if self._table.is_running(sender.number):
            self._account.on_started(trial_owner(sender.number))
        return Answer.GO_ON

    def log(self, sender: Sender, metrics: Mapping[str, float], step: int) -> PointsHeld | Answer:
        """Record a trial's metrics after `step` steps; never waits. What is held of its points."""
        if not self._is_heard(sender):
            return Answer.LEAVE
        return self._log(sender.number, metrics, step)

    def log_again(self, sender: Sender, points: Points) -> PointsHeld | Answer:
        """Record points that may be recorded already; never waits. What is held of its points."""
        if not self._is_heard(sender):
            return Answer.LEAVE
        return self._recorder.log_again(trial_run(sender.number), points)

    def at_rung(
        self,
        sender: Sender,
        epoch: int,
        step: int,
        metrics: Mapping[str, float],
        hits: Mapping[str, bool] = NO_HITS,
    ) -> Answer:
        """Whether a trial goes on after `epoch` epochs, by the `metrics` that its workers found
        there and the `hits` (by query), where the pruner compares queries. Stored: asked again,
        the answer is the same.
        """
        if not self._is_heard(sender):
            return Answer.LEAVE
        number = sender.number
        view = self._table.view(number)
        value = metrics[self._base.sweep.objective]
        with self._journal.batch():  # one request to the storage for all of it
            self._log(number, {**metrics, "epoch": epoch}, step)
            self._pruning.report(number, epoch, value, hits)
            self._reach_rung(number, epoch)
            decision = self._pruning.decide(number, epoch, view.num_epochs)
        view.rungs[epoch] = value
        view.objective = value
        stopped = self._stopped_by_a_person(number)
        view.reason = stopped or decision.reason
        return Answer.GO_ON if decision.go_on and not stopped else Answer.STOP

    def submit_rung(self, sender: Sender, epoch: int, step: int, key: str) -> Answer:
        """Queue a rung for a task while its trial trains on; its weights lie under `key` of the
        sweep's folder.
        """
        if not self._is_heard(sender):
            return Answer.LEAVE
        if self._table.is_running(sender.number):
            self._reach_rung(sender.number, epoch)
        self._evaluation.submit_rung(sender.number, epoch, step, key)
        self._evaluation.advance()
        return Answer.GO_ON

    def should_stop(self, sender: Sender) -> Answer:
        """Whether a trial was pruned, or stopped by a person, while it trained on."""
        if not self._is_heard(sender):
            return Answer.LEAVE
        self._evaluation.advance()
        stopped = self._stopped_by_a_person(sender.number)
        reason = stopped or self._evaluation.stop_reason(sender.number)
        if not reason:
            return Answer.GO_ON
        self._table.view(sender.number).reason = reason
        return Answer.STOP

    # ---- for the trial's driver, which starts its workers and ends it

    def begin_attempt(self, sender: Sender, step: int) -> Attempt:
        """The attempt with which a driver starts workers; they continue after `step` steps."""
        if self._table.is_running(sender.number):
            return self._attempts.begin(sender, step)
        return Attempt(None)

    def attempt_failed(self, sender: Sender, failure: Failure) -> Answer:
        """An attempt ended without an outcome. Whether there is another is the answer to
        `begin_attempt`.
        """
        if not self._is_heard(sender):
            return Answer.LEAVE
        self._attempts.fail(sender.number, failure)
        return Answer.GO_ON

    def final_outcome(self, sender: Sender) -> TrialOutcome | Answer:
        """How a trial that has trained to its end ends by its last evaluation; `GO_ON` while that
        is still to come.
        """
        answer = self.should_stop(sender)
        if answer != Answer.GO_ON:
            return TrialOutcome(TrialState.PRUNED) if answer == Answer.STOP else answer
        failure = self._evaluation.failure(sender.number)
        if failure is not None:
            return TrialOutcome(TrialState.FAILED, failure)
        metrics = self._evaluation.final_metrics(sender.number)
        return answer if metrics is None else TrialOutcome(TrialState.FINISHED, "", metrics)

    def tell(self, sender: Sender, outcome: TrialOutcome) -> Answer:
        """End a trial; told twice, the first outcome stands."""
        if not self._is_heard(sender):
            return Answer.LEAVE
        self._end(sender.number, outcome)
        return Answer.GO_ON

    # ---- for the sweep's driver, when no trial runs any more

    def end_left_over(self, outcome: TrialOutcome) -> None:
        """End every trial that has not ended and that nobody runs."""
        handed_out = self._study.handed_out()
        for view in self._table.in_state(TrialState.RUNNING):
            if view.number not in handed_out:
                self._end(view.number, outcome)
        self._study.drop_unstarted()

    # ----

    def _stopped_by_a_person(self, number: int) -> str:
        """Why trial `number` is to stop; empty where nobody asked for it."""
        return str(self._study.notes(number).get(TRIAL_STOPPED, ""))

    def _is_heard(self, sender: Sender) -> bool:
        return self._attempts.is_newest(sender)

    def _log(self, number: int, metrics: Mapping[str, float], step: int) -> PointsHeld:
        view = self._table.view(number)
        view.step = max(view.step, step)
        view.epoch = max(view.epoch, int(metrics.get("epoch", 0)))
        view.metrics.update(metrics)
        if self._table.is_running(number):
            self._account.on_progress(trial_owner(number), step, metrics)
        advice = advice_of(metrics)
        if advice:
            self._recorder.tag(trial_run(number), {"prp.data_advice": advice})
        return self._recorder.log(trial_run(number), metrics, step)

    def _end(self, number: int, outcome: TrialOutcome) -> None:
        """The study first. A coordinator that died before the records of the end were written is
        told again, and writes them then.
        """
        if number in self._ended:
            return
        view = self._table.view(number)
        self._evaluation.end(number)
        if view.state == TrialState.RUNNING:
            panel = self._base.evaluation.time_panel
            outcome = checked(outcome, self._base.sweep.objective, panel)
            self._tell_study(number, outcome)
            view.metrics.update(outcome.metrics)
            view.state = outcome.state
            view.reason = outcome.reason or view.reason
            view.ended = time.time()
        self._ended.add(number)
        self._account.on_ended(trial_owner(number), self._study.pruned_at(number))
        self._record_end(number)

    def _tell_study(self, number: int, outcome: TrialOutcome) -> None:
        view = self._table.view(number)
        metrics = {**view.metrics, **outcome.metrics}
        finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
        self._study.set_note(number, "metrics", json.dumps(finite))
        if outcome.state == TrialState.FINISHED:
            view.objective = outcome.metrics[self._base.sweep.objective]
            self._study.tell_finished(number, view.objective)
        elif outcome.state == TrialState.PRUNED:
            self._study.tell_pruned(number, outcome.reason or view.reason)
        else:
            self._study.tell_failed(number, outcome.reason)

    def _record_end(self, number: int) -> None:
        view = self._table.view(number)
        costs = self._account.totals(number).metrics()
        view.metrics.update(costs)
        self._recorder.log(trial_run(number), costs, view.step)
        self._recorder.log_costs()
        self._recorder.finish_trial(number)

    def _reach_rung(self, number: int, epoch: int) -> None:
        """Trial `number` is at the rung after `epoch` epochs: the account closes the way there, and
        the search learns how long it trains.
        """
        self._account.on_rung(trial_owner(number), epoch)
        seconds = self._account.training_seconds(number)
        if seconds > 0:
            self._study.set_training_seconds(number, seconds)

    def _start_evaluation(self, rung: Rung) -> Any:
        return start_evaluation(self._spec, rung, to_tree(self._table.config_of(rung.number)))

    def _record_evaluation(self, rung: Rung, metrics: Mapping[str, float]) -> None:
        self._log(rung.number, {**metrics, "epoch": rung.epoch}, rung.step)
        self._recorder.make_durable()
        objective = self._base.sweep.objective
        if objective not in metrics:
            return
        view = self._table.view(rung.number)
        view.rungs[rung.epoch] = metrics[objective]
        view.objective = metrics[objective]
        now = time.time()
        started = now - metrics.get("time/evaluation_seconds", 0.0)
        resources = self._base.resources
        held = Held(resources.evaluator_gpus, resources.evaluator_cpus)
        self._account.book(
            TaskCost(
                kind=EVALUATION,
                trial=rung.number,
                started=started,
                ended=now,
                held=held,
                rung_epoch=rung.epoch,
            )
        )

    def _evaluator_of(self, number: int) -> str:
        """Who evaluates the rungs of trial `number`: the same after a resume, which may find less
        room, so that every rung that was submitted is evaluated.
        """
        notes = self._study.notes(number)
        submitted = any(name.startswith(SUBMITTED) for name in notes)
        return str(notes.get(EVALUATOR, "task" if submitted else self._evaluator))

    def _fits(self, values: Mapping[str, Any]) -> Fit:
        return self._limits.fits(apply_space(self._base, values))
