"""Publishing: what a sweep without a driver still has to tell MLflow is sent by another process.

Whoever publishes opens the sweep's records under the epoch of its last driver, so that a driver
which starts meanwhile fences it, and nobody waits for it.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.config.run_config import RunConfig, parse_config
from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.coordinator.recorder import ended_confirmations
from orchestrator.coordinator.run_starts import confirm_config, confirm_start, trial_start
from orchestrator.coordinator.shown_metrics import ended_tags, shown
from orchestrator.coordinator.trial_table import view_of
from orchestrator.cost.ledger import LedgerEntry, read_ledger, total_of_trial
from orchestrator.journal.journal_writer import JournalWriter
from orchestrator.journal.lease_record import read_lease
from orchestrator.journal.lease_watch import LeaseWatch
from orchestrator.journal.object_journal import JournalReader
from orchestrator.journal.process_identity import this_process
from orchestrator.journal.stored_sweep import load_sweep, open_folder
from orchestrator.journal.sweep_folder import JOURNAL, LEASE, RECORDS
from orchestrator.search.record import StudyTrial, read_study
from orchestrator.search.space import apply_space
from orchestrator.tracking.dead_runs import close_left_runs
from orchestrator.tracking.mlflow_tracker import (
    EndedRun,
    MlflowTracker,
    TrackedSweep,
)
from orchestrator.tracking.reading import read_running_sweeps
from orchestrator.tracking.recorded import KILLED, Record, Recorded, RunEnd, record
from orchestrator.tracking.run_names import trial_run
from orchestrator.tracking.run_start import RunStart
from orchestrator.tracking.sender import Sent, Unsent
from orchestrator.tracking.tags import KEY_TAG
from prp_core.data.object_store import ObjectStore, read_all
from prp_core.errors import PrpError, UserError

_LOGGER = logging.getLogger(__name__)

DIED = "the driver of the sweep died"


@dataclass(frozen=True)
class Published:
    """What was sent, and what is left."""

    sent: Sent
    left: Unsent


def publish(spec: SweepSpec, timeout_seconds: float) -> Published:
    """Send MLflow what the sweep of `spec` has for it, the end of runs of a dead driver included;
    gives up when nothing moves for `timeout_seconds`.

    Raises `UserError` while the sweep has a driver, which sends by itself.
    """
    store = open_folder(spec).store
    holder = LeaseWatch(store, LEASE).holder()
    if holder is not None:
        raise UserError(
            f"Sweep {spec.sweep_id} is driven by {holder}, which sends the pending records itself"
        )
    ended = ended_runs(spec, JournalReader(store, JOURNAL))
    epoch = last_epoch(store)
    tracker = MlflowTracker(
        TrackedSweep(
            tracking_uri=spec.tracking_uri,
            experiment=parse_config(spec.config).sweep.name,
            sweep_id=spec.sweep_id,
            open_journal=lambda: JournalWriter(
                store, RECORDS, epoch=epoch, holder=str(this_process())
            ),
            read_file=lambda key: read_all(store, key),
            sweep_key=spec.tags.get(KEY_TAG, ""),
        )
    )
    tracker.reconcile(ended)
    tracker.say(_end_what_runs)
    tracker.drain(timeout_seconds)
    left = tracker.close(0.0)
    if tracker.fenced:
        raise UserError(
            f"Another process is sending for sweep {spec.sweep_id} now: {tracker.fenced}"
        )
    return Published(tracker.sent(), left)


def last_epoch(store: ObjectStore) -> int:
    """The epoch of the last driver of the sweep whose folder is `store`."""
    lease = read_lease(store, LEASE)
    if lease is not None:
        return lease.record.epoch
    openings = JournalReader(store, RECORDS).openings
    return openings[-1].epoch if openings else 0


def close_dead_sweeps(spec: SweepSpec) -> None:
    """Publish every other sweep in the storage of `spec` of which MLflow says that it runs, and
    which has no driver any more. Raises `TrackerUnavailable`.
    """
    store = parse_config(spec.config).store
    found = []
    for sweep_id in read_running_sweeps(spec.tracking_uri) - {spec.sweep_id}:
        with contextlib.suppress(UserError):  # of another storage
            found.append(load_sweep(sweep_id, spec.storage_uri, store).spec)
    close_dead(found)


def close_dead(specs: Sequence[SweepSpec], timeout_seconds: float = 20.0) -> None:
    """Publish those of the sweeps of `specs` of which MLflow says that they run, and which have no
    driver any more. Where MLflow or the storage does not answer, nothing is done.
    """
    for uri in {spec.tracking_uri for spec in specs}:
        try:
            running = read_running_sweeps(uri)
        except PrpError:
            continue
        for spec in specs:
            if spec.tracking_uri == uri and spec.sweep_id in running:
                _publish_quietly(spec, timeout_seconds)


def _publish_quietly(spec: SweepSpec, timeout_seconds: float) -> None:
    try:
        publish(spec, timeout_seconds)
    except UserError:  # it has a driver
        return
    except PrpError as error:
        _LOGGER.warning("the runs of sweep %s could not be closed: %s", spec.sweep_id, error)


class DeadSweeps:
    """The sweeps beside the one of `spec` whose drivers have died, and commands that have."""

    def __init__(self, spec: SweepSpec) -> None:
        self._spec = spec

    def close(self) -> None:
        """Close their runs in MLflow, in a thread of its own; returns at once."""
        threading.Thread(target=self._close, name="dead-sweeps", daemon=True).start()

    def _close(self) -> None:
        try:
            close_dead_sweeps(self._spec)
        except PrpError as error:  # the next start tries again
            _LOGGER.info("could not check for other sweeps without a driver: %s", error)
        close_left_runs([self._spec.tracking_uri])


def ended_runs(spec: SweepSpec, journal: JournalReader) -> list[EndedRun]:
    """How the trials and confirming runs ended that have ended by the study; none, with a warning,
    where the study lies in a database that cannot be read from here.
    """
    ledger = read_ledger(journal)
    try:
        study = read_study(spec, journal)
    except UserError as error:
        _LOGGER.warning("could not compare how the trials ended with the study: %s", error)
        return []
    base = parse_config(spec.config)
    values = {trial.number: trial.values for trial in study.trials}

    def start_of(number: int, seed: int) -> RunStart:
        config = confirm_config(apply_space(base, values[number]), seed)
        return confirm_start(spec, number, seed, config, values[number])

    trials = [
        _ended(spec, base, trial, ledger)
        for trial in study.trials
        if trial.state.is_over and trial.is_drawn and not trial.unfit
    ]
    return [*trials, *ended_confirmations(study.notes, start_of)]


def _ended(
    spec: SweepSpec, base: RunConfig, trial: StudyTrial, ledger: list[LedgerEntry]
) -> EndedRun:
    config = apply_space(base, trial.values)
    costs = total_of_trial(ledger, trial.number).metrics()
    view = view_of(trial, config)
    view.metrics.update(costs)
    return EndedRun(
        run=trial_run(trial.number),
        end=RunEnd(trial.state, trial.reason),
        costs=shown(costs),
        tags=ended_tags(view, base.sweep.objective),
        start=lambda: trial_start(
            spec,
            trial.number,
            config,
            trial.values,
            continues=trial.extension.trial if trial.extension else None,
        ),
    )


def _end_what_runs(recorded: Recorded) -> list[Record]:
    """The end of a driver that did not say it itself; nothing where no run is open."""
    if recorded.starts.keys() <= recorded.ends.keys():
        return []
    return [record("end_all", state=KILLED, reason=DIED)]
