"""The records of a sweep: its runs, metrics, tags, texts and model in MLflow, notes in its study.

Nothing here decides anything, and nothing waits long for MLflow. The
caller in mind is the end of the sweep's driver, which measures the winner and writes the report;
the desks record through it as well.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from functools import partial
from typing import Any

from orchestrator.config.run_config import RunConfig
from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.coordinator.run_starts import (
    baseline_start,
    confirm_config,
    confirm_start,
    sweep_start,
    trial_start,
)
from orchestrator.coordinator.shown_metrics import (
    ended_tags,
    interval_of,
    shown,
    sweep_words,
)
from orchestrator.coordinator.trial_table import TrialTable
from orchestrator.cost.account import SweepAccount, TaskCost
from orchestrator.journal.journal_writer import JournalWriter
from orchestrator.journal.process_identity import this_process
from orchestrator.journal.stored_sweep import open_folder
from orchestrator.journal.sweep_folder import ARTIFACTS, RECORDS
from orchestrator.search.hand_out import NOT_HANDED_OUT
from orchestrator.search.study import Proposal, SweepStudy
from orchestrator.tracking.mlflow_client import TrackerUnavailable
from orchestrator.tracking.mlflow_tracker import (
    EndedRun,
    MlflowTracker,
    TrackedSweep,
)
from orchestrator.tracking.record_log import PointsHeld
from orchestrator.tracking.recorded import RunEnd
from orchestrator.tracking.registered_models import Measured
from orchestrator.tracking.run_names import SWEEP_RUN, baseline_run, confirm_run, trial_run
from orchestrator.tracking.run_start import RunStart
from orchestrator.tracking.saved_view import ViewedSweep, view_tags
from orchestrator.tracking.tags import INTERVAL_TAG, KEY_TAG, NOTE_TAG, PROTOCOL_TAG
from orchestrator.trial.messages import TrialView
from orchestrator.trial_state import TrialState
from prp_core.data.object_store import ObjectStore, read_all
from prp_core.evaluation.evaluation_config import Evaluations
from prp_core.reporting import Points

DOWNSTREAM = tuple(f"{entry.name}/" for entry in fields(Evaluations))
FLUSH_SECONDS = 10.0
CONFIRM_NOTE = "confirm/"  # + TRIAL/SEED: the note of the sweep with a run's result
DURABLE_SECONDS = 1.0  # no decision waits for longer


def ended_confirmations(
    notes: Mapping[str, str], start_of: Callable[[int, int], RunStart]
) -> Iterator[EndedRun]:
    """How the confirming runs ended whose results are `notes` of the sweep."""
    for name, value in notes.items():
        if name.startswith(CONFIRM_NOTE):
            number, seed = (int(part) for part in name.removeprefix(CONFIRM_NOTE).split("/"))
            reason = json.loads(value).get("failed", "")
            yield EndedRun(
                run=confirm_run(number, seed),
                end=RunEnd(TrialState.FAILED if reason else TrialState.FINISHED, reason),
                costs={},
                start=partial(start_of, number, seed),
            )


class Recorder:
    """The parent run, a run for each trial and each confirming run, and the notes of the sweep."""

    def __init__(
        self,
        spec: SweepSpec,
        base: RunConfig,
        study: SweepStudy,
        table: TrialTable,
        account: SweepAccount,
    ) -> None:
        """Record that the sweep starts, or goes on, and how the trials ended that have ended."""
        self._spec = spec
        self._base = base
        self._study = study
        self._table = table
        self._account = account
        self._name = base.sweep.name
        self._objective = base.sweep.objective
        self._tracker = MlflowTracker(
            TrackedSweep(
                tracking_uri=spec.tracking_uri,
                experiment=self._name,
                sweep_id=spec.sweep_id,
                open_journal=self._open_journal,
                read_file=lambda key: read_all(self._open_store(), key),
                sweep_key=spec.tags.get(KEY_TAG, ""),
            )
        )
        self._tracker.start(SWEEP_RUN, sweep_start(spec, base))
        self._shown: ViewedSweep | None = None
        self._show_view()
        ended = [self._ended(view) for view in table.views() if view.state.is_over]
        confirmed = ended_confirmations(study.sweep_notes(CONFIRM_NOTE), self._start_of_confirm)
        self._tracker.reconcile([*ended, *confirmed])
        for view in table.in_state(TrialState.RUNNING):
            if study.hand_out(view.number) != NOT_HANDED_OUT:
                start = partial(
                    self._start_of_trial, view.number, table.config_of(view.number), view.values
                )
                self._tracker.start_again(trial_run(view.number), start)

    @property
    def fenced(self) -> str:
        """Which other process has opened the records, so that nothing more is recorded; empty:
        none.
        """
        return self._tracker.fenced

    # ---- runs of trials, for the desks

    def start_trial(self, proposal: Proposal, config: RunConfig) -> None:
        """The trial of `proposal` starts, or goes on."""
        start = self._start_of_trial(proposal.number, config, proposal.values)
        self._tracker.start(trial_run(proposal.number), start)
        self._show_view(proposal.values)

    def start_confirm(self, number: int, seed: int, config: RunConfig) -> None:
        """The run that confirms trial `number` with `seed` starts, or goes on."""
        values = self._table.view(number).values
        start = confirm_start(self._spec, number, seed, config, values)
        self._tracker.start(confirm_run(number, seed), start)

    def start_confirm_again(self, number: int, seed: int) -> None:
        """That run is under way: record its start where a coordinator that died has not."""
        start = partial(self._start_of_confirm, number, seed)
        self._tracker.start_again(confirm_run(number, seed), start)

    def log(self, run: str, metrics: Mapping[str, float], step: int) -> PointsHeld:
        """Metrics of a run after `step` steps, and what is held of its points."""
        if interval := interval_of(metrics, self._objective):
            self._tracker.set_tags(run, {INTERVAL_TAG: interval})
        return self._tracker.log(run, shown(metrics), step)

    def log_again(self, run: str, points: Points) -> PointsHeld:
        """Points that may have been logged before, and what is held of the run's points."""
        for step, metrics in points:
            self._tracker.log(run, shown(metrics), step)
        return self._tracker.held(run)

    def make_durable(self) -> None:
        """Wait until the storage has what was recorded so far, for `DURABLE_SECONDS` at most."""
        self._tracker.flush_to_storage(DURABLE_SECONDS)

    def tag(self, run: str, tags: Mapping[str, str]) -> None:
        """Tags of a run."""
        self._tracker.set_tags(run, tags)

    def finish(self, run: str, end: str, reason: str) -> None:
        """Close a run as `end`."""
        self._tracker.finish(run, end, reason)

    def finish_trial(self, number: int) -> None:
        """Close the run of trial `number`, which has ended, with the tags of its end."""
        view = self._table.view(number)
        run = trial_run(number)
        self._tracker.set_tags(run, ended_tags(view, self._objective))
        self._tracker.finish(run, view.state, view.reason)
        so_far = sweep_words(self._table.views(), self._base.sweep.num_trials, self._objective)
        self._tracker.set_tags(SWEEP_RUN, {NOTE_TAG: so_far})

    def log_costs(self) -> None:
        """What the sweep has cost so far and the best finished trial's figures, into the parent
        run; the step is the number of the ledger's entries.
        """
        figures = {**self._account.totals().metrics(), **self._best_figures()}
        self._tracker.log(SWEEP_RUN, figures, self._account.num_entries)

    def _best_figures(self) -> dict[str, float]:
        """The objective of the best finished trial with its interval, and how many have ended."""
        views = [view for view in self._table.views() if view.state.is_over]
        finished = [view for view in views if view.state == TrialState.FINISHED]
        found = {"trials_ended": float(len(views))}
        if finished:
            best = max(finished, key=lambda view: (view.objective, -view.number))
            names = [self._objective, *(f"{self._objective}_{end}" for end in ("low", "high"))]
            found |= {name: best.metrics[name] for name in names if name in best.metrics}
        return found

    # ---- the sweep itself, for its driver

    def sweep_run_id(self) -> str:
        """MLflow's id of the parent run; empty where it is not known yet."""
        return self._tracker.run_id(SWEEP_RUN)

    def log_sweep(self, metrics: Mapping[str, float]) -> None:
        """Metrics of the sweep itself (baselines, the winner's) into the parent run; the step is
        how many trials had ended.
        """
        self.log(SWEEP_RUN, metrics, self._study.num_told())
        self.make_durable()

    def log_trial(self, number: int, metrics: Mapping[str, float]) -> None:
        """Metrics of trial `number`, which has ended, at its last step."""
        view = self._table.view(number)
        view.metrics.update(metrics)
        self.log(trial_run(number), metrics, view.step)
        self.make_durable()

    def tag_sweep(self, tags: Mapping[str, str]) -> None:
        """Tags of the parent run."""
        self.tag(SWEEP_RUN, tags)

    def send_sweep_file(self, path: str) -> None:
        """The file `path` of the sweep's folder is an artifact of the parent run."""
        self._tracker.send_file(SWEEP_RUN, path, path)

    def log_sweep_text(self, path: str, text: str) -> None:
        """A text artifact of the parent run; kept in the sweep's folder as well."""
        self._send_text(SWEEP_RUN, path, text)

    def log_trial_text(self, number: int, path: str, text: str) -> None:
        """A text artifact of trial `number`'s run; kept in the sweep's folder as well."""
        self._send_text(trial_run(number), path, text)

    def log_baselines(self, metrics: Mapping[str, float], titles: Mapping[str, str]) -> None:
        """The baselines' metrics, which begin with ``baseline/NAME/``: a run for each name in
        `titles`, and the objective and the linear probe of each in the parent run.
        """
        for name, title in titles.items():
            prefix = f"baseline/{name}/"
            mine = {
                metric.removeprefix(prefix): value
                for metric, value in metrics.items()
                if metric.startswith(prefix)
            }
            if mine:
                self._tracker.start(baseline_run(name), baseline_start(self._spec, title))
                first = {self._objective: mine.pop(self._objective, math.nan)}
                self.log(baseline_run(name), first, 0)  # MLflow compares by what was logged first
                self.log(baseline_run(name), mine, 0)
                self._tracker.finish(baseline_run(name), TrialState.FINISHED)
        told = (f"/{self._objective}", "/linear_probe/accuracy", "/label_free/effective_rank")
        self.log_sweep({name: value for name, value in metrics.items() if name.endswith(told)})

    def note(self, name: str, value: str | None = None) -> str | None:
        """The sweep's note called `name`, after setting it to `value` where one is given."""
        if value is not None:
            self._study.set_sweep_note(name, value)
        return self._study.sweep_note(name)

    def book_task(self, task: TaskCost) -> None:
        """A task beside the trials has ended, and cost this."""
        self._account.book(task)
        self.log_costs()

    def register_winner(self, number: int, key: str, objection: str = "") -> str:
        """Make trial `number`'s encoder, which lies under `key` of the sweep's folder, a logged
        model of its run and register it, as the best unless there is an `objection`; where it
        loads, for a person.

        Raises `TrackerUnavailable` where MLflow does not take it soon: then it waits.
        """
        run = trial_run(number)
        measured = Measured(
            metric=self._objective,
            value=self._table.view(number).objective,
            protocol_hash=self._spec.tags["prp.protocol_hash"],
            objection=objection,
        )
        self._send_encoder(number, key, measured)
        self._tracker.settle(FLUSH_SECONDS)
        registered = self._tracker.registered(run)
        if registered is None:
            reason = self._tracker.unsent().reason or "it takes too long"
            raise TrackerUnavailable(f"it waits, see below ({reason})")
        return registered.line()

    def log_encoder(self, number: int, key: str) -> None:
        """Make trial `number`'s encoder, which lies under `key` of the sweep's folder, a logged
        model of its run, ranked by its figures in MLflow; it is not registered.
        """
        self._send_encoder(number, key, None)

    def _send_encoder(self, number: int, key: str, measured: Measured | None) -> None:
        view = self._table.view(number)
        scores = {
            metric: value
            for metric, value in shown(view.metrics).items()
            if metric.startswith(DOWNSTREAM) and math.isfinite(value)
        }
        self._tracker.register_encoder(
            trial_run(number),
            key,
            f"prp-{self._name}",
            measured,
            metrics=scores,
            step=view.step,
            tags=self._spec.tags,
        )

    def describe_encoder(self, number: int, text: str) -> None:
        """`text` is the description of trial `number`'s encoder in MLflow's registry."""
        self._tracker.describe_encoder(trial_run(number), f"prp-{self._name}", text)

    def flush(self) -> bool:
        """Wait until MLflow has what was logged so far; False when it does not answer in time."""
        return self._tracker.settle(FLUSH_SECONDS)

    def close(self, end: str, reason: str = "") -> str:
        """Finish the parent run as `end` and every other one that is still open as killed, and wait
        a little for MLflow; what waits for it then, in one line, empty where nothing does.
        """
        self._tracker.finish_all(end, reason)
        return self._tracker.close().line(self._spec.sweep_id)

    # ----

    def _show_view(self, newest: Mapping[str, Any] | None = None) -> None:
        """Keep the saved view of MLflow's page current: with every path that a trial varied."""
        sampled: list[Mapping[str, Any]] = [view.values for view in self._table.views()]
        sampled += [newest] if newest else []
        varied = list(dict.fromkeys(path for values in sampled for path in values))
        on_gpu = self._base.resources.gpus_per_worker > 0
        view = ViewedSweep(
            sweep_id=self._spec.sweep_id,
            objective=self._objective,
            varied=varied,
            shared=[path for path in varied if all(path in values for values in sampled)],
            cost="cost/gpu_hours" if on_gpu else "cost/cpu_hours",
        )
        if view != self._shown:
            self._shown = view
            self._tracker.tag_experiment({**view_tags(view), NOTE_TAG: self._about()})

    def _about(self) -> str:
        """The description of the experiment."""
        return (
            f"Sweeps called {self._name}: playback rate perception, each trial ranked by "
            f"{self._objective} on validation videos. Figures compare where the tag "
            f"`{PROTOCOL_TAG}` is equal. The newest: `{self._spec.sweep_id}`; "
            f"`prp ui {self._spec.sweep_id}` opens its runs, charts and baselines."
        )

    def _start_of_confirm(self, number: int, seed: int) -> RunStart:
        config = confirm_config(self._table.config_of(number), seed)
        return confirm_start(self._spec, number, seed, config, self._table.view(number).values)

    def _ended(self, view: TrialView) -> EndedRun:
        number = view.number
        costs = self._account.totals(number).metrics()
        paid = replace(view, metrics={**view.metrics, **costs})
        return EndedRun(
            run=trial_run(number),
            end=RunEnd(view.state, view.reason),
            costs=shown(costs),
            tags=ended_tags(paid, self._objective),
            start=lambda: self._start_of_trial(number, self._table.config_of(number), view.values),
        )

    def _start_of_trial(
        self, number: int, config: RunConfig, values: Mapping[str, Any]
    ) -> RunStart:
        extension = self._study.extension(number)
        sampled = self._study.trials()[number].params
        continues = extension.trial if extension else None
        return trial_start(self._spec, number, config, values, sampled, continues)

    def _send_text(self, run: str, path: str, text: str) -> None:
        key = f"{ARTIFACTS}{run}/{path}"
        self._open_store().write(key, text.encode())
        self._tracker.send_file(run, path, key)

    def _open_store(self) -> ObjectStore:
        return open_folder(self._spec, check=False).store

    def _open_journal(self) -> JournalWriter:
        holder = str(this_process())
        return JournalWriter(self._open_store(), RECORDS, epoch=self._spec.epoch, holder=holder)
