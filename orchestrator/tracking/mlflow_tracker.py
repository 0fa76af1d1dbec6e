"""The tracker of a sweep: one parent run, one nested run for each trial, their parameters, metrics,
files and ends.

It lives in one process of a sweep and many call it. `log` never waits and never raises: what it
accepts is on disk when it returns (`spool.py`) and reaches MLflow from a background thread
(`sender.py`). Starting and closing runs waits for MLflow, up to a limit.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.tracking.mlflow_client import (
    TrackerUnavailable,
    connect,
    first_line,
    is_refusal,
    limit_requests,
    retry,
)
from orchestrator.tracking.models import log_encoder_files, register_model
from orchestrator.tracking.runs import (
    CONFIRM_TAG,
    NONFINITE_TAG,
    PARENT_TAG,
    REASON_TAG,
    ROLE_TAG,
    SEED_TAG,
    STATE_TAG,
    SWEEP_TAG,
    TRIAL_TAG,
    RunBook,
    shortened_tags,
)
from orchestrator.tracking.sender import METRICS_PER_REQUEST, Sender
from orchestrator.tracking.spool import Spool
from orchestrator.tracking.tracking_uri import artifact_root_of, check_usable
from orchestrator.trial_state import TrialState
from prp_core.catalogue import look_up
from prp_core.errors import UserError

_LOGGER = logging.getLogger(__name__)

# How a run ends for us, and the status that MLflow knows for it.
ENDS: dict[str, str] = {
    TrialState.FINISHED: "FINISHED",
    TrialState.PRUNED: "FINISHED",
    TrialState.FAILED: "FAILED",
    "killed": "KILLED",
}


@dataclass(frozen=True)
class SweepRuns:
    """The runs of a sweep that MLflow already has: the parent's id (None: none), each trial's by
    its number, and which were closed.
    """

    sweep_run_id: str | None
    trial_run_ids: Mapping[int, str]
    closed_run_ids: tuple[str, ...]


class MlflowTracker:
    """Tracks sweeps in one experiment. `patience_seconds` bounds how long starting, closing and
    files wait for MLflow.
    """

    def __init__(
        self,
        tracking_uri: str,
        experiment_name: str,
        *,
        spool_dir: Path,
        artifact_root: str | None = None,
        patience_seconds: float = 60.0,
    ) -> None:
        """Connect, create the experiment where there is none, and send what an earlier tracker left
        in `spool_dir`.

        Raises `UserError` for a URI that cannot serve, `TrackerUnavailable` when MLflow does not
        answer.
        """
        check_usable(tracking_uri)
        limit_requests()
        self._uri = tracking_uri
        self._patience_seconds = patience_seconds
        self._client = connect(tracking_uri)
        self._experiment_id = self._open_experiment(
            experiment_name, artifact_root or artifact_root_of(tracking_uri)
        )
        self._book = RunBook(self._client, tracking_uri, self._experiment_id, patience_seconds)
        self._lock = threading.Lock()
        self._sweep_ids: dict[str, str] = {}
        self._last_steps: dict[tuple[str, str], int] = {}
        self._nonfinite: set[tuple[str, str]] = set()
        self._is_open = True
        self._counters = {
            f"tracking/{name}": 0
            for name in ("accepted_points", "repeated_points", "nonfinite_points", "dropped_points")
        }
        self._spool = Spool(Path(spool_dir), tracking_uri, self._remember)
        self._sender = Sender(self._client, self._spool)

    @property
    def experiment_id(self) -> str:
        """MLflow's id of the experiment."""
        return self._experiment_id

    @property
    def counters(self) -> dict[str, int]:
        """What became of the points so far; dropped and rejected are 0 in a healthy sweep."""
        return {**self._counters, **self._sender.counters}

    def start_sweep(
        self,
        sweep_id: str,
        params: Mapping[str, str],
        tags: Mapping[str, str],
        *,
        name: str | None = None,
    ) -> str:
        """The id of the parent run of `sweep_id`, created or found; found, it is RUNNING again with
        its params unchanged.

        Raises `UserError` when a param has another value than the run was started with: what may
        change belongs in `tags`.
        """
        identity = {SWEEP_TAG: sweep_id, ROLE_TAG: "sweep"}
        return self._start(identity, sweep_id, name or sweep_id, params, tags)

    def start_trial(
        self,
        sweep_run_id: str,
        trial_number: int,
        params: Mapping[str, str],
        tags: Mapping[str, str],
        *,
        name: str | None = None,
    ) -> str:
        """The id of the nested run of that trial, created or found; raises as `start_sweep`
        does.
        """
        sweep_id = self._sweep_id_of(sweep_run_id)
        identity = {SWEEP_TAG: sweep_id, TRIAL_TAG: str(trial_number), ROLE_TAG: "trial"}
        return self._start(
            identity,
            sweep_id,
            name or f"trial-{trial_number:04d}",
            params,
            {**tags, PARENT_TAG: sweep_run_id},
        )

    def start_confirm(
        self,
        sweep_run_id: str,
        trial_number: int,
        seed: int,
        params: Mapping[str, str],
        tags: Mapping[str, str],
    ) -> str:
        """The id of the nested run that confirms that trial with `seed`, created or found; raises
        as `start_sweep` does.
        """
        sweep_id = self._sweep_id_of(sweep_run_id)
        identity = {
            SWEEP_TAG: sweep_id,
            CONFIRM_TAG: str(trial_number),
            SEED_TAG: str(seed),
            ROLE_TAG: "confirm",
        }
        return self._start(
            identity,
            sweep_id,
            f"confirm-{trial_number:04d}-seed-{seed}",
            params,
            {**tags, PARENT_TAG: sweep_run_id},
        )

    def log(self, run_id: str, metrics: Mapping[str, float], step: int) -> None:
        """Accept the metrics of one step. The steps of one metric ascend within a run.

        A step at or before the last one of its metric is a repeat (a trial that resumed from an
        earlier checkpoint): the first value stays and the repeat is counted. A value that is not
        finite is not stored: its first step stands in the tag ``prp.nonfinite.<metric>``.
        """
        with self._lock:
            finite: dict[str, float] = {}
            for name, value in metrics.items():
                number = _as_float(value)
                if number is None:
                    self._counters["tracking/dropped_points"] += 1
                elif not math.isfinite(number):
                    self._counters["tracking/nonfinite_points"] += 1
                    self._note_nonfinite(run_id, name, number, step)
                elif step <= self._last_steps.get((run_id, name), -1):
                    self._counters["tracking/repeated_points"] += 1
                else:
                    finite[name] = number
            names = list(finite)
            for start in range(0, len(names), METRICS_PER_REQUEST):
                some = {name: finite[name] for name in names[start : start + METRICS_PER_REQUEST]}
                if self._put(
                    {"kind": "metrics", "run": run_id, "step": int(step), "metrics": some}
                ):
                    self._counters["tracking/accepted_points"] += len(some)
                    self._last_steps.update({(run_id, name): step for name in some})
                else:
                    self._counters["tracking/dropped_points"] += len(some)

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags on a run, in the background like metrics."""
        self._put({"kind": "tags", "run": run_id, "tags": shortened_tags(tags)})

    def log_text(self, run_id: str, path: str, text: str) -> None:
        """Store `text` as the run's file `path`, replacing it; waits for MLflow. Raises
        `TrackerUnavailable`.
        """
        self._retry(lambda: self._client.log_text(run_id, text, path))

    def log_file(self, run_id: str, path: str, file: Path) -> None:
        """Store a local file in the run's folder `path` ("" is its root); waits for MLflow. Raises
        `TrackerUnavailable`.
        """
        self._retry(lambda: self._client.log_artifact(run_id, str(file), path or None))

    def log_encoder(
        self,
        run_id: str,
        files: Mapping[str, bytes],
        *,
        name: str,
        metrics: Mapping[str, float],
        step: int,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Store an encoder (`encoder_file.pack`) as a logged model of the run and rank it by
        `metrics`; the model's id.

        Asked again with the same weights it gives the same model.
        """
        # the same points may be on their way: two writers of one point break sqlite's uniqueness
        self._flush_or_raise()
        return self._retry(
            lambda: log_encoder_files(
                self._client, run_id, files, name=name, metrics=metrics, step=step, tags=tags or {}
            )
        )

    def register(self, model_id: str, name: str, alias: str = "best") -> str:
        """Make a logged model loadable as ``models:/<name>@<alias>``; its version."""
        return self._retry(lambda: register_model(self._client, model_id, name, alias))

    def finish(self, run_id: str, end: str, reason: str = "") -> None:
        """Close a run as one of `ENDS`, in the background, after all that was logged before. A
        pruned run is FINISHED for MLflow.
        """
        status = look_up("end of a run", end, ENDS)
        self._set_end(run_id, end, status, reason)

    def adopt(self, sweep_id: str) -> SweepRuns:
        """Take over a sweep whose driver died: what its tracker had accepted is sent, its trials
        left RUNNING are closed as killed.
        """
        return self._close_running(
            sweep_id, "killed", "the driver of the sweep died", including_parent=False
        )

    def close_all(self, sweep_id: str, end: str, reason: str) -> SweepRuns:
        """Close every run of the sweep that is still RUNNING, the parent too. Raises
        `TrackerUnavailable`; `adopt` does it later then.
        """
        look_up("end of a run", end, ENDS)
        return self._close_running(sweep_id, end, reason, including_parent=True)

    def flush(self, timeout_seconds: float) -> bool:
        """Wait until MLflow has all that was accepted; False when the time is up."""
        return self._sender.flush(timeout_seconds)

    def close(self, timeout_seconds: float = 30.0) -> bool:
        """Flush and end. False when something still waits: the next tracker with the same spool
        folder sends it.
        """
        if not self._is_open:
            return True
        arrived = self._sender.close(timeout_seconds)
        with self._lock:
            self._is_open = False
            if self._sender.has_ended:
                # else a request still hangs in the thread, and the file goes with the process
                self._spool.close()
        return arrived

    def _open_experiment(self, name: str, artifact_root: str | None) -> str:
        def find_or_create() -> str:
            experiment = self._client.get_experiment_by_name(name)
            if experiment is None:
                return self._client.create_experiment(name, artifact_location=artifact_root)
            if experiment.lifecycle_stage != "active":
                raise UserError(
                    f"The MLflow experiment {name!r} at {self._uri} is in the bin: "
                    "restore it or choose another name"
                )
            return experiment.experiment_id

        def attempt() -> str:
            try:
                return find_or_create()
            except Exception as error:
                if getattr(error, "error_code", None) != "RESOURCE_ALREADY_EXISTS":
                    raise
                return find_or_create()  # another tracker was faster

        try:
            return self._retry(attempt)
        except (UserError, TrackerUnavailable):
            raise
        except Exception as error:
            hint = (
                "check your credentials (MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_TOKEN)"
                if is_refusal(error)
                else "check the URI"
            )
            raise UserError(
                f"MLflow at {self._uri} refuses: {first_line(error)}; {hint}"
            ) from error

    def _start(
        self,
        identity: Mapping[str, str],
        sweep_id: str,
        name: str,
        params: Mapping[str, str],
        tags: Mapping[str, str],
    ) -> str:
        run, is_new = self._book.find_or_create(
            identity, name, {key: str(value) for key, value in params.items()}, tags
        )
        run_id: str = run.info.run_id
        self._sweep_ids[run_id] = sweep_id
        with self._lock:
            for metric in run.data.to_proto().metrics:
                self._last_steps[run_id, metric.key] = max(
                    self._last_steps.get((run_id, metric.key), -1), metric.step
                )
            self._nonfinite |= {
                (run_id, tag.removeprefix(NONFINITE_TAG))
                for tag in run.data.tags
                if tag.startswith(NONFINITE_TAG)
            }
        if is_new:
            self.set_tags(run_id, {STATE_TAG: TrialState.RUNNING})
        else:
            self._set_end(run_id, TrialState.RUNNING, "RUNNING", "")
        return run_id

    def _sweep_id_of(self, sweep_run_id: str) -> str:
        if sweep_run_id not in self._sweep_ids:
            self._sweep_ids[sweep_run_id] = self._book.get(sweep_run_id).data.tags[SWEEP_TAG]
        return self._sweep_ids[sweep_run_id]

    def _close_running(
        self, sweep_id: str, end: str, reason: str, *, including_parent: bool
    ) -> SweepRuns:
        self._flush_or_raise()
        runs = self._book.delete_strays(self._book.find({SWEEP_TAG: sweep_id}))
        parents = [
            run
            for run in runs
            if TRIAL_TAG not in run.data.tags and CONFIRM_TAG not in run.data.tags
        ]
        trials = {
            int(run.data.tags[TRIAL_TAG]): run
            for run in reversed(runs)
            if TRIAL_TAG in run.data.tags
        }
        closed = [
            run.info.run_id
            for run in runs
            if run.info.status == "RUNNING" and (including_parent or run not in parents)
        ]
        for run_id in closed:
            self._set_end(run_id, end, ENDS[end], reason)
        self._flush_or_raise()
        run_ids = {number: run.info.run_id for number, run in sorted(trials.items())}
        return SweepRuns(parents[0].info.run_id if parents else None, run_ids, tuple(closed))

    def _flush_or_raise(self) -> None:
        if not self.flush(self._patience_seconds):
            raise TrackerUnavailable(
                f"MLflow at {self._uri} did not take all records within "
                f"{self._patience_seconds:.0f} s; they wait on disk"
            )

    def _set_end(self, run_id: str, state: str, status: str, reason: str) -> None:
        self._put(
            {
                "kind": "tags",
                "run": run_id,
                "tags": shortened_tags({STATE_TAG: state, REASON_TAG: reason}),
            }
        )
        self._put(
            {"kind": "status", "run": run_id, "status": status, "time": int(time.time() * 1000)}
        )

    def _note_nonfinite(self, run_id: str, name: str, number: float, step: int) -> None:
        if (run_id, name) not in self._nonfinite:
            self._nonfinite.add((run_id, name))
            self._put(
                {
                    "kind": "tags",
                    "run": run_id,
                    "tags": {NONFINITE_TAG + name: f"{number} at step {step}"},
                }
            )

    def _remember(self, record: Mapping[str, Any]) -> None:
        """Learn from a record that an earlier tracker accepted which steps it had seen."""
        if record["kind"] == "metrics":
            for name in record["metrics"]:
                self._last_steps[record["run"], name] = max(
                    self._last_steps.get((record["run"], name), -1), record["step"]
                )

    def _put(self, record: Mapping[str, Any]) -> bool:
        """Accept a record; False, said aloud, where the disk is full or the tracker closed:
        training goes on.
        """
        try:
            if not self._is_open:
                raise OSError("the tracker is closed")
            self._spool.append(record)
        except OSError as error:
            _LOGGER.warning("not tracked: %s (%s)", record, error)
            return False
        return True

    def _retry(self, call: Any) -> Any:
        return retry(call, self._uri, self._patience_seconds)


def _as_float(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
