"""The MLflow tracker of a sweep: one parent run, one nested run per trial and per confirmation.

It lives in one process of a sweep and serves many callers. Nothing that is said here waits for
MLflow or raises because MLflow or the storage is away: it becomes a record (`record_log.py`), which
a thread sends (`sender.py`). Runs go by their names (`run_names.py`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from orchestrator.config.redaction import redacted
from orchestrator.journal.journal_writer import JournalWriter
from orchestrator.tracking.delivery import STATUSES, Delivery
from orchestrator.tracking.experiment import open_experiment
from orchestrator.tracking.mlflow_client import connect, limit_requests
from orchestrator.tracking.record_log import MakeRecords, PointsHeld, RecordLog
from orchestrator.tracking.recorded import Record, Recorded, RunEnd, record
from orchestrator.tracking.registered_models import Measured, Registered
from orchestrator.tracking.run_names import SWEEP_RUN
from orchestrator.tracking.run_start import RunStart
from orchestrator.tracking.sender import Sender, Sent, Unsent
from orchestrator.tracking.tracking_uri import artifact_root_of, check_usable
from prp_core.catalogue import look_up

PATIENCE_SECONDS = 5.0  # with an MLflow that is known to be away
CLOSE_SECONDS = 5.0  # for the threads to leave


@dataclass(frozen=True, kw_only=True)
class TrackedSweep:
    """Which sweep is tracked, and where: `open_journal` opens its records in its storage for
    writing, `read_file` reads a file of its folder there. `sweep_key` tells it from a sweep of the
    same name in another storage.
    """

    tracking_uri: str
    experiment: str
    sweep_id: str
    open_journal: Callable[[], JournalWriter]
    read_file: Callable[[str], bytes]
    sweep_key: str = ""


@dataclass(frozen=True, kw_only=True)
class EndedRun:
    """A run that the study knows to have ended: what it cost, its tags, and what it is started with
    where it was never recorded.
    """

    run: str
    end: RunEnd
    costs: Mapping[str, float]
    start: Callable[[], RunStart]
    tags: Mapping[str, str] = field(default_factory=dict)


class MlflowTracker:
    """Tracks one sweep."""

    def __init__(self, sweep: TrackedSweep) -> None:
        """Start the threads, which send what an earlier tracker left. Raises `UserError` for a
        tracking URI that cannot be used.
        """
        check_usable(sweep.tracking_uri)
        self._sweep = sweep
        self._log = RecordLog(sweep.open_journal)
        self._sender = Sender(self._log, self._connect)
        self._is_closed = False

    @property
    def counters(self) -> dict[str, int]:
        """Metric points by outcome; dropped and refused are 0 in a healthy sweep."""
        return {**self._log.recorded.counters.as_metrics(), **self._sender.counters}

    # ---- what is said; nothing waits

    def start(self, run: str, start: RunStart) -> None:
        """`run` starts, or goes on."""
        self._log.add(start.record(run))

    def log(self, run: str, metrics: Mapping[str, float], step: int) -> PointsHeld:
        """Log the metrics of one step; a metric that has a value at this step keeps it."""
        return self._log.add_points(run, metrics, step)

    def start_again(self, run: str, start: Callable[[], RunStart]) -> None:
        """`run` is under way: record its start, unless that is recorded."""
        self._log.add(lambda recorded: [] if run in recorded.starts else [start().record(run)])

    def held(self, run: str) -> PointsHeld:
        """What of the points of `run` that were logged here is in the storage."""
        return self._log.held(run)

    def say(self, make: MakeRecords) -> None:
        """Say what `make` makes of what was said so far."""
        self._log.add(make)

    def set_tags(self, run: str, tags: Mapping[str, str]) -> None:
        """Set tags on a run."""
        self._log.add(record("tags", run, tags=_texts(tags)))

    def tag_experiment(self, tags: Mapping[str, str]) -> None:
        """Set tags on the experiment."""
        self._log.add(record("experiment", SWEEP_RUN, tags=_texts(tags)))

    def finish(self, run: str, state: str, reason: str = "") -> None:
        """End a run as one of `STATUSES`, after all that was logged before. A pruned run is
        FINISHED for MLflow.
        """
        look_up("end of a run", state, STATUSES)
        self._log.add(record("end", run, state=str(state), reason=redacted(reason)))

    def finish_all(self, state: str, reason: str = "") -> None:
        """End the parent run as one of `STATUSES`; every other run that still runs was killed."""
        look_up("end of a run", state, STATUSES)
        self._log.add(record("end_all", state=str(state), reason=redacted(reason)))

    def send_file(self, run: str, path: str, key: str) -> None:
        """Store the file `key` of the sweep's folder as the run's artifact `path`, replacing it."""
        self._log.add(record("file", run, path=path, key=key))

    def register_encoder(
        self,
        run: str,
        key: str,
        name: str,
        measured: Measured | None,
        *,
        metrics: Mapping[str, float],
        step: int,
        tags: Mapping[str, str],
    ) -> None:
        """Make the encoder of a run, which lies under `key` of the sweep's folder, a logged model
        with `metrics`, and where it was `measured` as the sweep's best, a version of the registered
        model `name`; see `register_model`.
        """
        self._log.add(
            record(
                "model",
                run,
                key=key,
                name=name,
                measured=asdict(measured) if measured else None,
                metrics=dict(metrics),
                step=step,
                tags=_texts(tags),
            )
        )

    def describe_encoder(self, run: str, name: str, text: str) -> None:
        """Describe the versions of the registered model `name` that are the encoder of `run`."""
        self._log.add(record("describe", run, name=name, text=text))

    def registered(self, run: str) -> Registered | None:
        """Where the encoder of `run` is registered; None where it is not known here."""
        delivery = self._sender.delivery
        return delivery.registered.get(run) if delivery is not None else None

    def reconcile(self, ended: Iterable[EndedRun]) -> None:
        """Say again how runs ended of which the records say otherwise, or nothing."""
        runs = list(ended)
        self._log.add(lambda recorded: [one for run in runs for one in _told_again(run, recorded)])

    # ---- for whoever ends

    def unsent(self) -> Unsent:
        """What MLflow does not have yet."""
        return self._sender.unsent()

    def flush(self, timeout_seconds: float) -> bool:
        """Wait until MLflow has everything that was said; False when the time is up."""
        return self._log.flush(timeout_seconds) and self._sender.flush(timeout_seconds)

    def settle(self, timeout_seconds: float) -> bool:
        """As `flush`, but where MLflow is known to be away for `PATIENCE_SECONDS` alone."""
        return self._wait_for_mlflow(timeout_seconds, timeout_seconds)

    def drain(self, timeout_seconds: float) -> bool:
        """Wait until MLflow has everything, as long as something moves; False when nothing does
        for that long, or for `PATIENCE_SECONDS` with an MLflow that is known to be away.
        """
        return self._wait_for_mlflow(timeout_seconds, math.inf)

    def _wait_for_mlflow(self, idle_seconds: float, most_seconds: float) -> bool:
        started = moved_at = time.monotonic()
        seen = self.sent()
        while not self.flush(min(1.0, most_seconds)):
            now = time.monotonic()
            if self.sent() != seen:
                seen = self.sent()
                moved_at = now
            idle = min(PATIENCE_SECONDS, idle_seconds) if self.unsent().reason else idle_seconds
            if self.fenced or now - moved_at > idle or now - started > most_seconds:
                return False
        return True

    @property
    def fenced(self) -> str:
        """By whom this tracker was replaced, so that it writes and sends nothing more; else
        empty.
        """
        return self._log.fenced

    def sent(self) -> Sent:
        """What was sent here."""
        return self._sender.sent()

    def flush_to_storage(self, timeout_seconds: float) -> bool:
        """Wait until the storage has everything that was said; False when the time is up."""
        return self._log.flush(timeout_seconds)

    def close(self, timeout_seconds: float = 20.0) -> Unsent:
        """Settle and end; what is left, which the next tracker of the sweep sends. It is safe to
        call it again.
        """
        if not self._is_closed:
            self.settle(timeout_seconds)
            self._is_closed = True
            self._sender.close(CLOSE_SECONDS)
            self._log.close(CLOSE_SECONDS)
        return self._sender.unsent()

    def run_id(self, run: str) -> str:
        """MLflow's id of a run; empty where it is not known here."""
        delivery = self._sender.delivery
        found = delivery.runs.known(run) if delivery is not None else None
        return found.run_id if found is not None else ""

    def _connect(self) -> Delivery:
        uri = self._sweep.tracking_uri
        limit_requests()
        client = connect(uri)
        experiment_id = open_experiment(client, uri, self._sweep.experiment, artifact_root_of(uri))
        return Delivery(
            client,
            uri,
            experiment_id,
            self._sweep.sweep_id,
            start_of=self._log.recorded.starts.get,
            read_file=self._sweep.read_file,
            sweep_key=self._sweep.sweep_key,
        )


def _told_again(one: EndedRun, recorded: Recorded) -> list[Record]:
    known = recorded.ends.get(one.run)
    if known is not None and known.state == one.end.state:
        return []
    records = []
    if one.run not in recorded.starts:
        records.append(one.start().record(one.run))
    records += recorded.points(one.run, one.costs, recorded.last_step(one.run))
    if one.tags:
        records.append(record("tags", one.run, tags=_texts(one.tags)))
    reason = redacted(one.end.reason)
    return [*records, record("end", one.run, state=str(one.end.state), reason=reason)]


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: redacted(value) for name, value in values.items()}
