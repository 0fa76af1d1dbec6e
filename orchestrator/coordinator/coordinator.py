"""The one process of a sweep that asks, judges and tracks: workers, trials and the screen speak to
it and to nothing else.

It lives in an actor on the driver's node. It alone writes the study's database and the tracker, so
there is nothing to lock; a call never waits for the tracker. What it answers is what the database
says, so a restarted coordinator goes on where the last one stopped.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cluster.prices import Price
from orchestrator.config.run_config import RunConfig, flatten, parse_config, to_tree
from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.confirmation import ConfirmedRun
from orchestrator.coordinator.async_evaluation import AsyncEvaluation
from orchestrator.coordinator.confirm_book import ConfirmBook, ConfirmTask
from orchestrator.cost.account import SweepAccount, trial_owner
from orchestrator.cost.budget import Gate
from orchestrator.cost.ledger import EVALUATION
from orchestrator.cost.meter import Held
from orchestrator.data.health_line import advice_of
from orchestrator.ray_cluster.concurrency import EVALUATED_BY_WORKERS, EvaluationPlan
from orchestrator.search.pruner import PruningDecision, PruningRule
from orchestrator.search.record import STATES
from orchestrator.search.samplers import startup_trials
from orchestrator.search.space import (
    Fit,
    MemoryFigures,
    Space,
    apply_space,
    fits_corpus,
    fits_memory,
)
from orchestrator.search.study import SweepStudy
from orchestrator.search.warm_start import NOTHING_KNOWN, WarmStart
from orchestrator.tracking.mlflow_tracker import MlflowTracker
from orchestrator.tracking.past_trials import SAMPLED_TAG
from orchestrator.trial.evaluate_rung import start_on_cluster
from orchestrator.trial.messages import Rung, TrialOutcome, TrialTask, TrialView
from orchestrator.trial_state import TrialState

# What a resume may change, and what is shown of a trial once it has ended: a run keeps its
# parameters.
NO_PARAMS = ("sweep.num_trials", "budget.", "confirm.", "showcase.")
DOWNSTREAM = ("retrieval/", "linear_probe/", "recognition/")


def as_params(config: RunConfig) -> dict[str, str]:
    """The config by path, as MLflow's parameters; without what decides nothing that a trial does
    (`NO_PARAMS`).
    """
    return {
        path: str(value)
        for path, value in flatten(config).items()
        if not path.startswith(NO_PARAMS)
    }


class Coordinator:
    """Made by the driver inside an actor; every method returns small plain values."""

    def __init__(
        self,
        spec: SweepSpec,
        space: Space,
        frame_counts: tuple[int, ...],
        evaluation: EvaluationPlan = EVALUATED_BY_WORKERS,
        warm: WarmStart = NOTHING_KNOWN,
        memory: Mapping[str, MemoryFigures] | None = None,
        price: Price | None = None,
    ) -> None:
        self._spec = spec
        self._base = parse_config(spec.config)
        self._frame_counts = frame_counts
        self._memory = memory or {}
        sweep = self._base.sweep
        startup = startup_trials(sweep.num_startup_trials, sweep.sampler, sweep.num_trials)
        self._study = SweepStudy(
            spec.database_url,
            spec.sweep_id,
            space,
            seed=self._base.seed,
            num_startup_trials=startup,
            sampler=sweep.sampler,
        )
        self._study.warm_up(warm)
        self._tracker = MlflowTracker(
            spec.tracking_uri, sweep.name, spool_dir=Path(spec.state_dir) / "tracker"
        )
        self._tracker.adopt(spec.sweep_id)
        self._run_id = self._tracker.start_sweep(
            spec.sweep_id, params=as_params(self._base), tags=spec.tags
        )
        self._views: dict[int, TrialView] = self._views_from_study()
        self._account = SweepAccount(
            Path(spec.state_dir) / "ledger.jsonl", self._base, price, self._config_of
        )
        for view in self._views.values():
            self._account.reached(view.number, max(view.rungs, default=0))
        self._confirm = ConfirmBook(
            self._study, self._tracker, self._account, spec, self._run_id, as_params
        )
        self._evaluator = evaluation.where
        running = {
            view.number: view.num_epochs
            for view in self._views.values()
            if view.state == TrialState.RUNNING
        }
        submitted = any(self._evaluator_of(number) == "task" for number in running)
        self._evaluation = AsyncEvaluation(
            self._study,
            self._base,
            self._start_evaluation,
            max(evaluation.max_at_once, int(submitted)),
            record=self._record_evaluation,
            beyond_budget=self._account.prune_for_budget,
            num_epochs=running,
        )

    def sweep_run_id(self) -> str:
        """The MLflow run that is the parent of the trials'."""
        return self._run_id

    def num_left(self) -> int:
        """How many trials are still to be run to reach ``sweep.num_trials``; those that a dead
        driver left behind are among them.
        """
        return max(0, self._base.sweep.num_trials - self._study.num_told())

    def ask(self) -> TrialTask:
        """The next trial, with its MLflow run started (or taken up again)."""
        proposal = self._study.ask(self._fits)
        config = apply_space(self._base, proposal.values)
        tags = {
            **self._spec.tags,
            "prp.checkpoints_uri": self._spec.trial_uri(proposal.number),
        }
        tags[SAMPLED_TAG] = json.dumps(proposal.sampled)
        run_id = self._tracker.start_trial(
            self._run_id, proposal.number, params=as_params(config), tags=tags
        )
        self._study.set_note(proposal.number, "run_id", run_id)
        view = self._views.get(proposal.number) or TrialView(proposal.number, proposal.values)
        view.state = TrialState.RUNNING
        view.run_id = run_id
        view.started = view.started or time.time()
        view.num_epochs = config.training.num_epochs
        self._views[proposal.number] = view
        self._account.on_requested(trial_owner(proposal.number), config)
        self._evaluation.begin(proposal.number, view.num_epochs)
        evaluator = self._evaluator_of(proposal.number)
        self._study.set_note(proposal.number, "evaluator", evaluator)
        return TrialTask(proposal.number, run_id, to_tree(config), proposal.is_resumed, evaluator)

    def _evaluator_of(self, number: int) -> str:
        """Who evaluates the rungs of trial `number`: the same after a resume, which may find less
        room, so that what was handed in is judged.
        """
        notes = self._study.notes(number)
        submitted = any(name.startswith("submitted/") for name in notes)
        return str(notes.get("evaluator", "task" if submitted else self._evaluator))

    def num_waiting(self) -> int:
        """How many running trials hold no worker any more, and wait for their last evaluation
        only.
        """
        return sum(
            view.state == TrialState.RUNNING and self._evaluation.is_over(view.number)
            for view in self._views.values()
        )

    def submit_rung(self, number: int, epoch: int, step: int, key: str) -> None:
        """A rung to be evaluated by a task while its trial trains on; its weights lie under `key`
        of the sweep's folder.
        """
        if self._views[number].state == TrialState.RUNNING:
            self._reach(number, epoch)
        self._evaluation.submit_rung(number, epoch, step, key)
        self._evaluation.advance()

    def should_stop(self, number: int) -> bool:
        """Whether a late verdict has stopped trial `number`."""
        self._evaluation.advance()
        reason = self._evaluation.stop_reason(number)
        self._views[number].reason = reason or self._views[number].reason
        return reason is not None

    def final_outcome(self, number: int) -> TrialOutcome | None:
        """How trial `number`, which has trained to its end, ends by its last evaluation; None while
        that is still to come.
        """
        if self.should_stop(number):
            return TrialOutcome(TrialState.PRUNED)
        failure = self._evaluation.failure(number)
        metrics = self._evaluation.final_metrics(number)
        if failure is not None:
            return TrialOutcome(TrialState.FAILED, failure)
        return None if metrics is None else TrialOutcome(TrialState.FINISHED, "", metrics)

    def gate(self) -> Gate:
        """Whether the budget lets a new trial start."""
        return self._account.gate()

    def workers_started(self, number: int) -> None:
        """The first word of a trial's workers, at each start of them."""
        if self._views[number].state == TrialState.RUNNING:
            self._account.on_started(trial_owner(number))

    def log(self, number: int, metrics: Mapping[str, float], step: int) -> None:
        """Hand a trial's metrics to the tracker; never waits for it."""
        view = self._views[number]
        view.step = max(view.step, step)
        view.epoch = max(view.epoch, int(metrics.get("epoch", 0)))
        view.metrics.update(metrics)
        if view.state == TrialState.RUNNING:
            self._account.on_progress(trial_owner(number), step, metrics)
        self._tracker.log(view.run_id, metrics, step)
        advice = advice_of(metrics)
        if advice:
            self._tracker.set_tags(view.run_id, {"prp.data_advice": advice})

    def at_rung(self, number: int, epoch: int, step: int, metrics: Mapping[str, float]) -> bool:
        """Whether trial `number` goes on after `epoch` epochs; stored, so that the same question
        has the same answer.
        """
        view = self._views[number]
        config = self._base
        value = metrics[config.sweep.objective]
        self.log(number, {**metrics, "epoch": epoch}, step)
        self._study.report(number, epoch, value)
        rule = PruningRule(config.sweep.pruner, config.training.reduction_factor)
        decision = self._study.decide(number, epoch, rule, is_last_rung=epoch >= view.num_epochs)
        self._reach(number, epoch)
        decision = self._within_budget(number, epoch, decision)
        view.rungs[epoch] = value
        view.objective = value
        view.reason = decision.reason
        return decision.go_on

    def _reach(self, number: int, epoch: int) -> None:
        """Trial `number` is at the rung after `epoch` epochs: the account closes the way there, and
        the search learns how long it trains.
        """
        self._account.on_rung(trial_owner(number), epoch)
        seconds = self._account.training_seconds(number)
        if seconds > 0:
            self._study.set_training_seconds(number, seconds)

    def _within_budget(self, number: int, epoch: int, decision: PruningDecision) -> PruningDecision:
        """The pruner's `decision`, unless the way to the next rung is more than the budget holds:
        then the trial is pruned for that.
        """
        reason = self._account.prune_for_budget(number, epoch) if decision.go_on else ""
        if not reason:
            return decision
        pruned = PruningDecision(False, f"rung {epoch}: {reason}")
        self._study.set_decision(number, epoch, pruned)
        return pruned

    def tell(self, number: int, outcome: TrialOutcome) -> None:
        """Close trial `number` in the study and in the tracker; told twice, the first word
        stands.
        """
        view = self._views[number]
        if view.state != TrialState.RUNNING:
            return
        self._evaluation.end(number)
        if outcome.state == TrialState.FINISHED:
            value = outcome.metrics.get(self._base.sweep.objective, math.nan)
            if not math.isfinite(value):
                outcome = TrialOutcome(
                    TrialState.FAILED,
                    f"{self._base.sweep.objective} is {value} at the end of the trial",
                    outcome.metrics,
                )
        finite = {
            name: score
            for name, score in {**view.metrics, **outcome.metrics}.items()
            if math.isfinite(score)
        }
        self._study.set_note(number, "metrics", json.dumps(finite))
        if outcome.state == TrialState.FINISHED:
            self._study.tell_finished(number, value)
            view.objective = value
        elif outcome.state == TrialState.PRUNED:
            self._study.tell_pruned(number, outcome.reason or view.reason)
        else:
            self._study.tell_failed(number, outcome.reason)
        view.metrics.update(outcome.metrics)
        view.state = outcome.state
        view.reason = outcome.reason or view.reason
        view.ended = time.time()
        self._account.on_ended(trial_owner(number), self._study.pruned_at(number))
        costs = self._account.totals(number)
        self._tracker.log(view.run_id, costs.metrics(), view.step)
        view.metrics.update(costs.metrics())
        self._log_costs()
        self._tracker.finish(view.run_id, outcome.state, view.reason)

    def views(self) -> list[TrialView]:
        """Every trial that fitted this corpus, by number."""
        return [self._views[number] for number in sorted(self._views)]

    def log_sweep(self, metrics: Mapping[str, float]) -> None:
        """Metrics of the sweep itself (baselines, the winner's) into the parent run; the step is
        how many trials had ended.
        """
        self._tracker.log(self._run_id, metrics, self._study.num_told())

    def _log_costs(self) -> None:
        """What the sweep has cost so far, into the parent run; the step is the number of the
        ledger's lines.
        """
        self._tracker.log(self._run_id, self._account.totals().metrics(), self._account.num_entries)

    def cost_line(self, *, is_over: bool = False) -> str:
        """What was spent, of what budget, in one phrase."""
        return self._account.cost_line(is_over=is_over)

    def book_task(
        self,
        kind: str,
        number: int,
        started: float,
        ended: float,
        gpus: float,
        cpus: float,
        rung_epoch: int = 0,
    ) -> None:
        """A task beside the trials held so much from `started` to `ended` (seconds since 1970);
        `kind` as the ledger names it.
        """
        self._account.book(kind, number, started, ended, Held(gpus, cpus), rung_epoch=rung_epoch)
        self._log_costs()

    def affordable_candidates(self) -> int:
        """How many candidates the rest of the budget can confirm."""
        return self._account.affordable_candidates(len(self._confirm.done()[0]))

    def total_costs(self) -> dict[int, float]:
        """GPU-hours (CPU-hours where there is no GPU) that each finished trial took."""
        sums = {
            number: self._account.totals(number)
            for number, view in self._views.items()
            if view.state == TrialState.FINISHED
        }
        return {number: one.gpu_hours or one.cpu_hours for number, one in sums.items()}

    def start_confirm(self, number: int, seed: int) -> ConfirmTask:
        """The run that trains trial `number`'s config with another seed; its MLflow run is started
        or taken up again.
        """
        return self._confirm.start(number, seed, self._config_of(number))

    def confirm_started(self, number: int, seed: int) -> None:
        """The first word of a confirming run's workers."""
        self._confirm.started(number, seed)

    def log_confirm(self, number: int, seed: int, metrics: Mapping[str, float], step: int) -> None:
        """Hand a confirming run's metrics to the tracker."""
        self._confirm.log(number, seed, metrics, step)

    def end_confirm(
        self,
        number: int,
        seed: int,
        run: ConfirmedRun | None,
        reason: str = "",
        *,
        is_final: bool = True,
    ) -> None:
        """Close a confirming run; `run` is kept with the study. Failed (`run` None), it is tried
        again by a resume unless `is_final`.
        """
        self._confirm.end(number, seed, run, reason, is_final=is_final)
        self._log_costs()

    def confirmed_runs(self) -> tuple[list[ConfirmedRun], dict[tuple[int, int], str]]:
        """The confirming runs that are done, and why others failed for good, by (trial, seed)."""
        return self._confirm.done()

    def note(self, name: str, value: str | None = None) -> str | None:
        """The sweep's note called `name`, after setting it to `value` where one is given."""
        if value is not None:
            self._study.set_sweep_note(name, value)
        return self._study.sweep_note(name)

    def tag_sweep(self, tags: Mapping[str, str]) -> None:
        """Tags of the parent run."""
        self._tracker.set_tags(self._run_id, tags)

    def log_sweep_text(self, path: str, text: str) -> None:
        """A text artifact of the parent run."""
        self._tracker.log_text(self._run_id, path, text)

    def log_trial_text(self, number: int, path: str, text: str) -> None:
        """A text artifact of trial `number`'s run, ended or not."""
        self._tracker.log_text(self._views[number].run_id, path, text)

    def flush(self) -> bool:
        """Wait until MLflow has what was logged so far; False when it does not answer in time."""
        return self._tracker.flush(timeout_seconds=30)

    def register_winner(self, number: int, files: Mapping[str, bytes]) -> str:
        """Store trial `number`'s encoder as a logged model of its run and give it the alias
        ``best``; the URI under which it loads.
        """
        view = self._views[number]
        name = f"prp-{self._base.sweep.name}"
        scores = {
            metric: value
            for metric, value in view.metrics.items()
            if metric.startswith(DOWNSTREAM) and math.isfinite(value)
        }
        model_id = self._tracker.log_encoder(
            view.run_id, files, name=name, metrics=scores, step=view.step, tags=self._spec.tags
        )
        version = self._tracker.register(model_id, name)
        self._tracker.set_tags(
            self._run_id, {"prp.winner": str(number), "prp.model": f"models:/{name}/{version}"}
        )
        return f"models:/{name}@best"

    def close(self, end: str, reason: str = "") -> bool:
        """Finish every run that is still open as `end` and wait until MLflow has everything; False
        when something waits on disk.
        """
        self._tracker.finish(self._run_id, end, reason)
        for view in self._views.values():
            if view.state == TrialState.RUNNING:
                self._tracker.finish(view.run_id, end, reason)
        self._confirm.close(end, reason)
        return self._tracker.close()

    def _start_evaluation(self, rung: Rung) -> Any:
        return start_on_cluster(self._spec, rung, to_tree(self._config_of(rung.number)))

    def _record_evaluation(self, rung: Rung, metrics: Mapping[str, float]) -> None:
        view = self._views[rung.number]
        objective = self._base.sweep.objective
        self.log(rung.number, {**metrics, "epoch": rung.epoch}, rung.step)
        if objective in metrics:
            view.rungs[rung.epoch] = view.objective = metrics[objective]
            now = time.time()
            resources = self._base.resources
            started = now - metrics.get("time/evaluation_seconds", 0.0)
            self._account.book(
                EVALUATION,
                rung.number,
                started,
                now,
                Held(resources.evaluator_gpus, resources.evaluator_cpus),
                rung_epoch=rung.epoch,
            )

    def _config_of(self, number: int) -> RunConfig:
        return apply_space(self._base, self._views[number].values)

    def _fits(self, values: Mapping[str, Any]) -> Fit:
        config = apply_space(self._base, values)
        fit = fits_corpus(config, self._frame_counts)
        return fit if not fit.ok else fits_memory(config, self._memory)

    def _views_from_study(self) -> dict[int, TrialView]:
        views = {}
        for trial in self._study.trials():
            notes = trial.user_attrs
            if "unfit" in notes or "run_id" not in notes:
                continue
            view = TrialView(
                trial.number,
                json.loads(notes["values"]),
                run_id=notes["run_id"],
                rungs=dict(trial.intermediate_values),
            )
            view.state = STATES.get(trial.state.name, TrialState.RUNNING)
            view.num_epochs = apply_space(self._base, view.values).training.num_epochs
            view.epoch = max(view.rungs, default=0)
            view.objective = (
                trial.value if trial.value is not None else view.rungs.get(view.epoch, math.nan)
            )
            view.reason = notes.get("reason", "")
            view.metrics = json.loads(notes.get("metrics", "{}"))
            view.started = trial.datetime_start.timestamp() if trial.datetime_start else 0.0
            view.ended = trial.datetime_complete.timestamp() if trial.datetime_complete else 0.0
            views[trial.number] = view
        return views
