"""The records of a sweep: its runs, metrics, tags, texts and model in MLflow, notes in its study.

Nothing here decides anything, and nothing waits long for MLflow. The
caller in mind is the end of the sweep's driver, which measures the winner and writes the report;
the desks record through it as well.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from functools import partial

from orchestrator.config.run_config import RunConfig, flatten, with_values
from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.coordinator.trial_table import TrialTable
from orchestrator.cost.account import SweepAccount, TaskCost
from orchestrator.journal.journal_writer import JournalWriter
from orchestrator.journal.process_identity import this_process
from orchestrator.journal.sweep_folder import ARTIFACTS, RECORDS, open_sweep_folder
from orchestrator.search.study import Proposal, SweepStudy
from orchestrator.tracking.mlflow_client import TrackerUnavailable
from orchestrator.tracking.mlflow_tracker import (
    EndedRun,
    MlflowTracker,
    ParamsAndTags,
    TrackedSweep,
)
from orchestrator.tracking.record_log import PointsHeld
from orchestrator.tracking.recorded import RunEnd
from orchestrator.tracking.registered_models import Measured
from orchestrator.tracking.run_names import SWEEP_RUN, confirm_run, trial_run
from orchestrator.tracking.tags import CONTINUES_TAG, SAMPLED_TAG
from orchestrator.trial.messages import TrialView
from orchestrator.trial_state import TrialState
from prp_core.data.object_store import ObjectStore, read_all
from prp_core.evaluation.evaluation_config import Evaluations
from prp_core.reporting import Points

# What a resume may change: MLflow's parameters cannot be changed.
NO_PARAMS = ("sweep.num_trials", "budget.", "confirm.", "showcase.")
DOWNSTREAM = tuple(f"{entry.name}/" for entry in fields(Evaluations))
FLUSH_SECONDS = 10.0
CONFIRM_NOTE = "confirm/"  # + TRIAL/SEED: the note of the sweep with a run's result
DURABLE_SECONDS = 1.0  # no decision waits for longer


def as_params(config: RunConfig) -> dict[str, str]:
    """The config by path, as MLflow's parameters; without what decides nothing that a trial does
    (`NO_PARAMS`).
    """
    return {
        path: str(value)
        for path, value in flatten(config).items()
        if not path.startswith(NO_PARAMS)
    }


def trial_tags(spec: SweepSpec, number: int) -> dict[str, str]:
    """The tags of every run of trial `number`: where its results come from."""
    return {**spec.tags, "prp.checkpoints_uri": spec.trial_uri(number)}


def confirm_tags(spec: SweepSpec, number: int, seed: int) -> dict[str, str]:
    """As `trial_tags`, of the run that confirms trial `number` with `seed`."""
    folder = f"{spec.folder_uri}/{spec.confirm_folder(number, seed)}"
    return {**spec.tags, "prp.checkpoints_uri": folder}


def ended_confirmations(
    notes: Mapping[str, str], start_of: Callable[[int, int], ParamsAndTags]
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
                params_and_tags=partial(start_of, number, seed),
            )


def confirm_config(config: RunConfig, seed: int) -> RunConfig:
    """The config that confirms a trial of `config` with `seed`: at full length, evaluated at its
    end only.
    """
    last_rung = {"training.first_rung_epochs": config.training.num_epochs}
    return with_values(config, {"seed": seed, **last_rung})


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
            )
        )
        self._tracker.start(SWEEP_RUN, as_params(base), spec.tags)
        ended = [self._ended(view) for view in table.views() if view.state.is_over]
        confirmed = ended_confirmations(study.sweep_notes(CONFIRM_NOTE), self._start_of_confirm)
        self._tracker.reconcile([*ended, *confirmed])

    # ---- runs of trials, for the desks

    def start_trial(self, proposal: Proposal, config: RunConfig) -> None:
        """The trial of `proposal` starts, or goes on."""
        tags = trial_tags(self._spec, proposal.number) | {SAMPLED_TAG: json.dumps(proposal.sampled)}
        extension = self._study.extension(proposal.number)
        if extension:
            tags[CONTINUES_TAG] = str(extension.trial)
        self._tracker.start(trial_run(proposal.number), as_params(config), tags)

    def start_confirm(self, number: int, seed: int, config: RunConfig) -> None:
        """The run that confirms trial `number` with `seed` starts, or goes on."""
        tags = confirm_tags(self._spec, number, seed)
        self._tracker.start(confirm_run(number, seed), as_params(config), tags)

    def log(self, run: str, metrics: Mapping[str, float], step: int) -> PointsHeld:
        """Metrics of a run after `step` steps, and what is held of its points."""
        return self._tracker.log(run, metrics, step)

    def log_again(self, run: str, points: Points) -> PointsHeld:
        """Points that may have been logged before, and what is held of the run's points."""
        for step, metrics in points:
            self._tracker.log(run, metrics, step)
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

    def log_costs(self) -> None:
        """What the sweep has cost so far, into the parent run; the step is the number of the
        ledger's entries.
        """
        self.log(SWEEP_RUN, self._account.totals().metrics(), self._account.num_entries)

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

    def log_trial_text(self, number: int, path: str, text: str) -> None:
        """A text artifact of trial `number`'s run; kept in the sweep's folder as well."""
        self._send_text(trial_run(number), path, text)

    def note(self, name: str, value: str | None = None) -> str | None:
        """The sweep's note called `name`, after setting it to `value` where one is given."""
        if value is not None:
            self._study.set_sweep_note(name, value)
        return self._study.sweep_note(name)

    def book_task(self, task: TaskCost) -> None:
        """A task beside the trials has ended, and cost this."""
        self._account.book(task)
        self.log_costs()

    def register_winner(self, number: int, key: str) -> str:
        """Make trial `number`'s encoder, which lies under `key` of the sweep's folder, a logged
        model of its run and register it; where it loads, for a person.

        Raises `TrackerUnavailable` where MLflow does not take it soon: then it waits.
        """
        view = self._table.view(number)
        run = trial_run(number)
        scores = {
            metric: value
            for metric, value in view.metrics.items()
            if metric.startswith(DOWNSTREAM) and math.isfinite(value)
        }
        measured = Measured(
            metric=self._objective,
            value=view.objective,
            protocol_hash=self._spec.tags["prp.protocol_hash"],
        )
        self._tracker.register_encoder(
            run,
            key,
            f"prp-{self._name}",
            measured,
            metrics=scores,
            step=view.step,
            tags=self._spec.tags,
        )
        self._tracker.settle(FLUSH_SECONDS)
        registered = self._tracker.registered(run)
        if registered is None:
            reason = self._tracker.unsent().reason or "it takes too long"
            raise TrackerUnavailable(f"it waits, see below ({reason})")
        return registered.line()

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

    def _start_of_confirm(self, number: int, seed: int) -> ParamsAndTags:
        config = confirm_config(self._table.config_of(number), seed)
        return as_params(config), confirm_tags(self._spec, number, seed)

    def _ended(self, view: TrialView) -> EndedRun:
        number = view.number
        return EndedRun(
            run=trial_run(number),
            end=RunEnd(view.state, view.reason),
            costs=self._account.totals(number).metrics(),
            params_and_tags=lambda: (
                as_params(self._table.config_of(number)),
                trial_tags(self._spec, number),
            ),
        )

    def _send_text(self, run: str, path: str, text: str) -> None:
        key = f"{ARTIFACTS}{run}/{path}"
        self._open_store().write(key, text.encode())
        self._tracker.send_file(run, path, key)

    def _open_store(self) -> ObjectStore:
        spec = self._spec
        return open_sweep_folder(spec.storage_uri, spec.sweep_id, self._base.store).store

    def _open_journal(self) -> JournalWriter:
        holder = str(this_process())
        return JournalWriter(self._open_store(), RECORDS, epoch=self._spec.epoch, holder=holder)
