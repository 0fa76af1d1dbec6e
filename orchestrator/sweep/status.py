"""The status of a sweep, read from its records: running, ended, or stopped and to be resumed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.config.run_config import parse_config
from orchestrator.config.sweep_spec import STUDY_TAG, SweepSpec, home_dir
from orchestrator.config.typed_command import prp, start_command
from orchestrator.coordinator.steering_notes import PAUSED
from orchestrator.cost.budget import Account, Cost, cost_line
from orchestrator.cost.ledger import read_ledger, total
from orchestrator.data.sweep_videos import read_sweep_videos
from orchestrator.journal.lease_watch import LeaseWatch
from orchestrator.journal.object_journal import JournalReader
from orchestrator.journal.requests import num_unanswered
from orchestrator.journal.stored_sweep import known_place, open_folder
from orchestrator.journal.sweep_folder import JOURNAL, LEASE
from orchestrator.report.answer import Answer, answer
from orchestrator.report.record import (
    DataFacts,
    TrialRecord,
    data_facts,
    joined_record,
    trial_records,
)
from orchestrator.search.record import StudyRecord, read_study
from orchestrator.tracking.mlflow_client import TrackerUnavailable
from orchestrator.tracking.reading import SweepRead, read_history, read_sweep_runs
from orchestrator.tracking.tags import KEY_TAG, PROTOCOL_TAG
from orchestrator.trial.messages import TrialView
from orchestrator.trial_state import TrialState


class SweepPhase(StrEnum):
    """Whether a sweep is being driven."""

    RUNNING = "running"
    """A driver runs it now."""

    ENDED = "ended"
    """It came to its end: every trial is over, or its budget is spent."""

    STOPPED = "stopped"
    """It has no driver and has not come to its end: it can be resumed."""


@dataclass(frozen=True, kw_only=True)
class SweepStatus:
    """A sweep now, with the process that is its `driver` (None: none is).

    `cost` is what was spent, in one phrase; `warning` is shown below the screen; `answer` is what
    the report says (None before the first trial has finished); `protocol` is the hash by which the
    objective was measured.
    """

    sweep_id: str
    phase: SweepPhase
    driver: str | None
    num_trials: int
    objective: str
    trials: tuple[TrialRecord, ...]
    started: float
    advice: str
    cost: str = ""
    warning: str = ""
    answer: Answer | None = None
    protocol: str = ""

    @property
    def num_ended(self) -> int:
        """How many trials are over."""
        return sum(trial.state.is_over for trial in self.trials)

    @property
    def best(self) -> float:
        """The best objective so far; nan before the first rung."""
        return max(
            (trial.objective for trial in self.trials if math.isfinite(trial.objective)),
            default=math.nan,
        )


def sweep_phase(
    *,
    driver: str | None,
    num_ended: int,
    num_trials: int,
    parent_state: str,
    has_budget: bool = False,
) -> SweepPhase:
    """The phase of a sweep: running while it has a driver, else ended or stopped.

    It has ended where every trial is over and MLflow (`parent_state`, of the parent run) says so or
    says nothing; a budget may have ended it before its last trial.
    """
    if driver is not None:
        return SweepPhase.RUNNING
    all_ended = num_ended >= num_trials and parent_state in ("", "finished")
    if all_ended or (has_budget and parent_state == "finished"):
        return SweepPhase.ENDED
    return SweepPhase.STOPPED


class SweepWatch:
    """The records of one sweep, read again and again: its journal, its lease and MLflow."""

    def __init__(self, spec: SweepSpec, *, with_answer: bool = False) -> None:
        """`with_answer`: also make the report's answer, for which the manifest is read once."""
        self.spec = spec
        self._with_answer = with_answer
        self._data: DataFacts | None = None
        store = open_folder(spec).store
        self._store = store
        self._journal = JournalReader(store, JOURNAL)
        self._lease = LeaseWatch(store, LEASE)
        self._config = parse_config(spec.config)

    def status(self) -> SweepStatus:
        """The status of the sweep now.

        Where MLflow does not answer, what only it knows is missing and `warning` says so.
        """
        spec = self.spec
        config = self._config
        self._journal.refresh()
        study = read_study(spec, self._journal)
        runs = SweepRead(None, {})
        trials = trial_records(config, study)
        warning = ""
        try:
            key = spec.tags.get(KEY_TAG, "")
            runs = read_sweep_runs(spec.tracking_uri, config.sweep.name, spec.sweep_id, key)
            trials = tuple(_with_epoch(spec, trial) for trial in trial_records(config, study, runs))
        except TrackerUnavailable as error:
            warning = f"{error}; what only it knows is missing"
        holder = self._lease.holder()
        driver = None if holder is None else str(holder)
        num_ended = sum(trial.state.is_over for trial in trials)
        num_extensions = sum(one.extension is not None for one in study.trials)
        num_trials = config.sweep.num_trials + num_extensions
        phase = sweep_phase(
            driver=driver,
            num_ended=num_ended,
            num_trials=num_trials,
            parent_state=runs.parent.state if runs.parent else "",
            has_budget=config.budget.is_limited,
        )
        spent = total(read_ledger(self._journal))
        return SweepStatus(
            sweep_id=spec.sweep_id,
            phase=phase,
            driver=driver,
            num_trials=num_trials,
            objective=config.sweep.objective,
            protocol=spec.tags.get(PROTOCOL_TAG, ""),
            trials=trials,
            started=min((trial.started for trial in trials if trial.started), default=0.0),
            advice=advice(
                spec,
                phase,
                driver,
                is_whole=num_ended >= num_trials,
                paused=study.notes.get(PAUSED, ""),
                num_asked=0 if driver else num_unanswered(self._store, self._journal),
            ),
            cost=cost_line(Account(config.budget, Cost.of(spent)), spent.is_priced),
            warning=warning,
            answer=self._answer(study, runs) if self._with_answer else None,
        )

    def _answer(self, study: StudyRecord, runs: SweepRead) -> Answer | None:
        """The answer as the report has it; None before the first trial has finished."""
        if not any(trial.state == TrialState.FINISHED for trial in study.trials):
            return None
        spec, config = self.spec, self._config
        if self._data is None:
            self._data = data_facts(config, read_sweep_videos(spec, config))
        return answer(joined_record(spec, config, study, runs, self._data, self._journal))


def read_status(spec: SweepSpec) -> SweepStatus:
    """The status of the sweep of `spec`; for one look."""
    return SweepWatch(spec).status()


def advice(
    spec: SweepSpec,
    phase: SweepPhase,
    driver: str | None,
    *,
    is_whole: bool = True,
    paused: str = "",
    num_asked: int = 0,
) -> str:
    """What to do next, in one line; `is_whole`: every trial is over (else its budget ended it);
    `paused` says who paused the sweep, `num_asked` how many requests wait for its next start.
    """
    if phase == SweepPhase.RUNNING:
        go_on = f"; {paused}: {prp(f'continue {name_of_sweep(spec)}')}" if paused else ""
        return f"driven by {driver}{go_on}"
    if phase == SweepPhase.ENDED and num_asked:
        waits = "1 request waits" if num_asked == 1 else f"{num_asked} requests wait"
        return f"{waits} for its next start: {resume_command(spec)}"
    if phase == SweepPhase.ENDED:
        page = f"report: {prp(f'report {name_of_sweep(spec)}')}"
        return (
            page
            if is_whole
            else "its budget is spent; to continue with a larger one: "
            f"{resume_command(spec)}; {page}"
        )
    return f"its driver is no longer running; resume with: {resume_command(spec)}"


def resume_command(spec: SweepSpec) -> str:
    """The line that goes on with the sweep."""
    script = spec.tags.get(STUDY_TAG, "sweeps/YOUR_STUDY.py")
    return f"{start_command(script)} --resume {name_of_sweep(spec)}"


def name_of_sweep(spec: SweepSpec) -> str:
    """What names the sweep on this machine: its id where this machine knows where it lies, else the
    URI of its folder.
    """
    known = known_place(spec.sweep_id)
    place = known.uri if known is not None else str(home_dir())
    return spec.sweep_id if place == spec.storage_uri else spec.folder_uri


def views_of(status: SweepStatus) -> list[TrialView]:
    """The trials as the live screen draws them; one that no process drives is waiting."""
    views = []
    for trial in status.trials:
        state = (
            TrialState.WAITING
            if trial.state == TrialState.RUNNING and status.driver is None
            else trial.state
        )
        view = TrialView(
            trial.number,
            dict(trial.values),
            state=state,
            epoch=trial.epoch,
            num_epochs=trial.num_epochs,
            objective=trial.objective,
        )
        view.rungs = dict(trial.rungs)
        view.step = 1 if trial.metrics else 0  # its workers have reported something
        view.reason = trial.reason
        view.started = trial.started
        view.ended = trial.ended
        views.append(view)
    return views


def summary_rows(statuses: Sequence[SweepStatus]) -> list[list[str]]:
    """The rows of ``prp status``: id, phase, trials, best objective with the protocol by which it
    was measured, what was spent, what to do.
    """
    rows = []
    for one in statuses:
        best = "" if math.isnan(one.best) else f"{one.best:.3f} ({one.protocol or 'unknown'})"
        rows.append(
            [
                one.sweep_id,
                one.phase,
                f"{one.num_ended}/{one.num_trials}",
                best,
                one.cost.removeprefix("cost "),
                one.advice,
            ]
        )
    return rows


def _with_epoch(spec: SweepSpec, trial: TrialRecord) -> TrialRecord:
    """A running trial with the epochs that it finished since its last rung."""
    if trial.state != TrialState.RUNNING or not trial.run_id:
        return trial
    epochs = len(read_history(spec.tracking_uri, trial.run_id, "epoch/loss"))
    return dataclasses.replace(trial, epoch=max(trial.epoch, epochs))
