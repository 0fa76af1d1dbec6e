"""The trial desk: what the drivers and workers of trials, and Ray Tune's searcher, call.

A trial is asked for, logs, is decided on at its rungs and is told: the study first, so that what
was answered is never forgotten, then the account and the records.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from typing import Any

from orchestrator.config.run_config import to_tree
from orchestrator.coordinator.async_evaluation import SUBMITTED, AsyncEvaluation
from orchestrator.coordinator.evaluation_queue import EvaluationQueue
from orchestrator.coordinator.pruning import Pruning
from orchestrator.coordinator.sweep_state import CoordinatorSetup, SweepState
from orchestrator.cost.account import trial_owner
from orchestrator.cost.budget import Gate
from orchestrator.cost.ledger import EVALUATION
from orchestrator.cost.meter import Held
from orchestrator.data.health_line import advice_of
from orchestrator.search.pruner import PruningRule
from orchestrator.search.space import Fit, apply_space
from orchestrator.trial.evaluate_rung import start_evaluation
from orchestrator.trial.messages import Rung, TrialOutcome, TrialTask
from orchestrator.trial_state import TrialState

EVALUATOR = "evaluator"  # the note of a trial: who evaluates its rungs


class TrialDesk:
    """Every method returns at once, with small plain values; told twice, nothing changes."""

    def __init__(self, state: SweepState, setup: CoordinatorSetup) -> None:
        self._spec = state.spec
        self._base = state.base
        self._study = state.study
        self._table = state.table
        self._account = state.account
        self._recorder = state.recorder
        self._limits = setup.limits
        self._evaluator = setup.evaluation.where
        sweep = self._base.sweep
        rule = PruningRule(sweep.pruner, self._base.training.reduction_factor)
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
        """How many trials are still to be run to reach ``sweep.num_trials``; those that a dead
        driver left behind are among them.
        """
        return max(0, self._base.sweep.num_trials - self._study.num_told())

    def gate(self) -> Gate:
        """Whether the budget lets a new trial start."""
        return self._account.gate()

    def num_waiting(self) -> int:
        """How many running trials hold no worker any more and wait for their last evaluation."""
        running = self._table.in_state(TrialState.RUNNING)
        return sum(self._evaluation.is_trained(view.number) for view in running)

    def ask(self) -> TrialTask:
        """The next trial, new or left behind by a dead driver, with its MLflow run started."""
        proposal = self._study.ask(self._fits)
        number = proposal.number
        config = apply_space(self._base, proposal.values)
        run_id = self._recorder.start_trial(proposal, config)
        self._study.set_note(number, "run_id", run_id)
        self._table.open(proposal, run_id, config.training.num_epochs)
        self._account.on_requested(trial_owner(number), config)
        self._evaluation.begin(number, config.training.num_epochs)
        evaluator = self._evaluator_of(number)
        self._study.set_note(number, EVALUATOR, evaluator)
        return TrialTask(number, run_id, to_tree(config), proposal.is_resumed, evaluator)

    # ---- for the workers, which train

    def workers_started(self, number: int) -> None:
        """The workers of trial `number` run; called at each start of them."""
        if self._table.is_running(number):
            self._account.on_started(trial_owner(number))

    def log(self, number: int, metrics: Mapping[str, float], step: int) -> None:
        """Record a trial's metrics after `step` steps; never waits for MLflow."""
        view = self._table.view(number)
        view.step = max(view.step, step)
        view.epoch = max(view.epoch, int(metrics.get("epoch", 0)))
        view.metrics.update(metrics)
        if self._table.is_running(number):
            self._account.on_progress(trial_owner(number), step, metrics)
        self._recorder.log(view.run_id, metrics, step)
        advice = advice_of(metrics)
        if advice:
            self._recorder.tag(view.run_id, {"prp.data_advice": advice})

    def at_rung(self, number: int, epoch: int, step: int, metrics: Mapping[str, float]) -> bool:
        """Whether trial `number` goes on after `epoch` epochs, by the `metrics` that its workers
        found there. Stored: asked again, the answer is the same.
        """
        view = self._table.view(number)
        value = metrics[self._base.sweep.objective]
        self.log(number, {**metrics, "epoch": epoch}, step)
        self._study.report(number, epoch, value)
        self._reach_rung(number, epoch)
        decision = self._pruning.decide(number, epoch, view.num_epochs)
        view.rungs[epoch] = value
        view.objective = value
        view.reason = decision.reason
        return decision.go_on

    def submit_rung(self, number: int, epoch: int, step: int, key: str) -> None:
        """Queue a rung for a task while its trial trains on; its weights lie under `key` of the
        sweep's folder.
        """
        if self._table.is_running(number):
            self._reach_rung(number, epoch)
        self._evaluation.submit_rung(number, epoch, step, key)
        self._evaluation.advance()

    def should_stop(self, number: int) -> bool:
        """Whether trial `number` was pruned while it trained on."""
        self._evaluation.advance()
        reason = self._evaluation.stop_reason(number)
        if reason is not None:
            self._table.view(number).reason = reason
        return reason is not None

    # ---- for the trial's driver, which ends it

    def final_outcome(self, number: int) -> TrialOutcome | None:
        """How trial `number`, which has trained to its end, ends by its last evaluation; None while
        that is still to come.
        """
        if self.should_stop(number):
            return TrialOutcome(TrialState.PRUNED)
        failure = self._evaluation.failure(number)
        if failure is not None:
            return TrialOutcome(TrialState.FAILED, failure)
        metrics = self._evaluation.final_metrics(number)
        return None if metrics is None else TrialOutcome(TrialState.FINISHED, "", metrics)

    def tell(self, number: int, outcome: TrialOutcome) -> None:
        """End trial `number`; told twice, the first outcome stands."""
        if not self._table.is_running(number):
            return
        self._evaluation.end(number)
        outcome = with_finite_objective(outcome, self._base.sweep.objective)
        self._tell_study(number, outcome)
        view = self._table.view(number)
        view.metrics.update(outcome.metrics)
        view.state = outcome.state
        view.reason = outcome.reason or view.reason
        view.ended = time.time()
        self._account.on_ended(trial_owner(number), self._study.pruned_at(number))
        self._record_end(number)

    # ----

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
        self._recorder.log(view.run_id, costs, view.step)
        self._recorder.log_costs()
        self._recorder.finish(view.run_id, view.state, view.reason)

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
        self.log(rung.number, {**metrics, "epoch": rung.epoch}, rung.step)
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
        self._account.book(EVALUATION, rung.number, started, now, held, rung_epoch=rung.epoch)

    def _evaluator_of(self, number: int) -> str:
        """Who evaluates the rungs of trial `number`: the same after a resume, which may find less
        room, so that every rung that was submitted is evaluated.
        """
        notes = self._study.notes(number)
        submitted = any(name.startswith(SUBMITTED) for name in notes)
        return str(notes.get(EVALUATOR, "task" if submitted else self._evaluator))

    def _fits(self, values: Mapping[str, Any]) -> Fit:
        return self._limits.fits(apply_space(self._base, values))


def with_finite_objective(outcome: TrialOutcome, objective: str) -> TrialOutcome:
    """`outcome`, or a failure in its place where a finished trial has no finite `objective`."""
    value = outcome.metrics.get(objective, math.nan)
    if outcome.state != TrialState.FINISHED or math.isfinite(value):
        return outcome
    reason = f"{objective} is {value} at the end of the trial"
    return TrialOutcome(TrialState.FAILED, reason, outcome.metrics)
