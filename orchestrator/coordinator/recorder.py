"""The records of a sweep: its runs, metrics, tags, texts and model in MLflow, notes in its study.

Nothing here decides anything. The caller in mind is the end of the sweep's driver, which measures
the winner and writes the report; the desks record through it as well.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

from orchestrator.config.run_config import RunConfig, flatten
from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.coordinator.trial_table import TrialTable
from orchestrator.cost.account import SweepAccount
from orchestrator.cost.meter import Held
from orchestrator.search.study import Proposal, SweepStudy
from orchestrator.storage.open_store import open_store
from orchestrator.tracking.encoder_file import CARD_NAME, WEIGHTS_NAME
from orchestrator.tracking.mlflow_tracker import MlflowTracker
from orchestrator.tracking.registered_models import Measured
from orchestrator.tracking.tags import SAMPLED_TAG
from orchestrator.trial_state import TrialState
from prp_core.data.object_store import read_all
from prp_core.evaluation.evaluation_config import Evaluations

# What a resume may change: MLflow's parameters cannot be changed.
NO_PARAMS = ("sweep.num_trials", "budget.", "confirm.", "showcase.")
DOWNSTREAM = tuple(f"{entry.name}/" for entry in fields(Evaluations))
FLUSH_SECONDS = 30.0


def as_params(config: RunConfig) -> dict[str, str]:
    """The config by path, as MLflow's parameters; without what decides nothing that a trial does
    (`NO_PARAMS`).
    """
    return {
        path: str(value)
        for path, value in flatten(config).items()
        if not path.startswith(NO_PARAMS)
    }


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
        """Start the parent run, or take it up again; close what a dead driver left running, but not
        what an earlier process of this driver's coordinator has opened.
        """
        self._spec = spec
        self._study = study
        self._table = table
        self._account = account
        self._name = base.sweep.name
        self._objective = base.sweep.objective
        self._store = base.store
        self._tracker = MlflowTracker(
            spec.tracking_uri, self._name, spool_dir=Path(spec.state_dir) / "tracker"
        )
        if not study.is_reopened:
            self._tracker.adopt(spec.sweep_id)
        self._run_id = self._tracker.start_sweep(
            spec.sweep_id, params=as_params(base), tags=spec.tags
        )
        self._open = {view.run_id for view in table.in_state(TrialState.RUNNING)}

    # ---- runs of trials, for the desks

    def start_trial(self, proposal: Proposal, config: RunConfig) -> str:
        """The id of the run of the trial of `proposal`, started or taken up again."""
        tags = {
            **self._spec.tags,
            "prp.checkpoints_uri": self._spec.trial_uri(proposal.number),
            SAMPLED_TAG: json.dumps(proposal.sampled),
        }
        run_id = self._tracker.start_trial(
            self._run_id, proposal.number, params=as_params(config), tags=tags
        )
        self._open.add(run_id)
        return run_id

    def start_confirm(self, number: int, seed: int, config: RunConfig) -> str:
        """The id of the run that confirms trial `number` with `seed`, started or taken up again."""
        folder = f"{self._spec.folder_uri}/{self._spec.confirm_folder(number, seed)}"
        tags = {**self._spec.tags, "prp.checkpoints_uri": folder}
        run_id = self._tracker.start_confirm(
            self._run_id, number, seed, params=as_params(config), tags=tags
        )
        self._open.add(run_id)
        return run_id

    def log(self, run_id: str, metrics: Mapping[str, float], step: int) -> None:
        """Metrics of a run after `step` steps; never waits for MLflow."""
        self._tracker.log(run_id, metrics, step)

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Tags of a run; never waits for MLflow."""
        self._tracker.set_tags(run_id, tags)

    def finish(self, run_id: str, end: str, reason: str) -> None:
        """Close a run as `end`; never waits for MLflow."""
        self._open.discard(run_id)
        self._tracker.finish(run_id, end, reason)

    def log_costs(self) -> None:
        """What the sweep has cost so far, into the parent run; the step is the number of the
        ledger's entries.
        """
        self.log(self._run_id, self._account.totals().metrics(), self._account.num_entries)

    # ---- the sweep itself, for its driver

    def sweep_run_id(self) -> str:
        """The MLflow run that is the parent of the trials'."""
        return self._run_id

    def log_sweep(self, metrics: Mapping[str, float]) -> None:
        """Metrics of the sweep itself (baselines, the winner's) into the parent run; the step is
        how many trials had ended.
        """
        self.log(self._run_id, metrics, self._study.num_told())

    def log_trial(self, number: int, metrics: Mapping[str, float]) -> None:
        """Metrics of trial `number`, which has ended, at its last step."""
        view = self._table.view(number)
        view.metrics.update(metrics)
        self.log(view.run_id, metrics, view.step)

    def tag_sweep(self, tags: Mapping[str, str]) -> None:
        """Tags of the parent run."""
        self.tag(self._run_id, tags)

    def log_sweep_text(self, path: str, text: str) -> None:
        """A text artifact of the parent run; waits for MLflow."""
        self._tracker.log_text(self._run_id, path, text)

    def log_trial_text(self, number: int, path: str, text: str) -> None:
        """A text artifact of trial `number`'s run, ended or not; waits for MLflow."""
        self._tracker.log_text(self._table.view(number).run_id, path, text)

    def note(self, name: str, value: str | None = None) -> str | None:
        """The sweep's note called `name`, after setting it to `value` where one is given."""
        if value is not None:
            self._study.set_sweep_note(name, value)
        return self._study.sweep_note(name)

    def book_task(
        self, kind: str, number: int, started: float, ended: float, gpus: float, cpus: float
    ) -> None:
        """A task beside the trials held so much from `started` to `ended` (seconds since 1970);
        `kind` as the ledger names it, `number` -1 for no trial.
        """
        self._account.book(kind, number, started, ended, Held(gpus, cpus))
        self.log_costs()

    def register_winner(self, number: int, key: str) -> str:
        """Store trial `number`'s encoder, which lies under `key` of the sweep's folder, as a logged
        model of its run and register it; where it loads, for a person. Waits for MLflow.
        """
        view = self._table.view(number)
        name = f"prp-{self._name}"
        store = open_store(self._spec.folder_uri, self._store, check=False)
        files = {file: read_all(store, f"{key}/{file}") for file in (CARD_NAME, WEIGHTS_NAME)}
        scores = {
            metric: value
            for metric, value in view.metrics.items()
            if metric.startswith(DOWNSTREAM) and math.isfinite(value)
        }
        model_id = self._tracker.log_encoder(
            view.run_id, files, name=name, metrics=scores, step=view.step, tags=self._spec.tags
        )
        measured = Measured(
            metric=self._objective,
            value=view.objective,
            protocol_hash=self._spec.tags["prp.protocol_hash"],
        )
        registered = self._tracker.register(model_id, name, measured)
        self.tag_sweep({"prp.winner": str(number), "prp.model": registered.uri})
        return registered.line()

    def flush(self) -> bool:
        """Wait until MLflow has what was logged so far; False when it does not answer in time."""
        return self._tracker.flush(timeout_seconds=FLUSH_SECONDS)

    def close(self, end: str, reason: str = "") -> bool:
        """Finish every run that is still open as `end` and wait until MLflow has everything; False
        when something waits on disk.
        """
        for run_id in (self._run_id, *sorted(self._open)):
            self.finish(run_id, end, reason)
        return self._tracker.close()
