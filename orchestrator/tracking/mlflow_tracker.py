"""The MLflow tracker of a sweep: one parent run, one nested run per trial and per confirmation.

It lives in one process of a sweep and serves many callers. Logging and ending runs never wait for
MLflow and never raise (`background_log.py`). Starting runs, closing what a dead driver left, files
and models do wait, up to a limit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from orchestrator.tracking.background_log import BackgroundLog
from orchestrator.tracking.experiment import open_experiment
from orchestrator.tracking.mlflow_client import TrackerUnavailable, connect, limit_requests, retry
from orchestrator.tracking.models import log_encoder_files
from orchestrator.tracking.registered_models import Measured, Registered, register_model
from orchestrator.tracking.runs import RunLookup
from orchestrator.tracking.tags import (
    CONFIRM_TAG,
    PARENT_TAG,
    ROLE_TAG,
    SEED_TAG,
    STATE_TAG,
    SWEEP_TAG,
    TRIAL_TAG,
)
from orchestrator.tracking.tracking_uri import artifact_root_of, check_usable
from orchestrator.trial_state import TrialState
from prp_core.catalogue import look_up

Result = TypeVar("Result")

# How a run ends for us, and MLflow's status for it.
ENDS: dict[str, str] = {
    TrialState.FINISHED: "FINISHED",
    TrialState.PRUNED: "FINISHED",
    TrialState.FAILED: "FAILED",
    "killed": "KILLED",
}


@dataclass(frozen=True)
class SweepRuns:
    """The run ids of a sweep: the parent's (None: there is none), the trials' by their numbers.

    `closed_run_ids` are those that were still RUNNING and have been closed.
    """

    sweep_run_id: str | None
    trial_run_ids: Mapping[int, str]
    closed_run_ids: tuple[str, ...]


class MlflowTracker:
    """Tracks the sweeps of one experiment; `timeout_seconds` bounds each call that waits."""

    def __init__(
        self,
        tracking_uri: str,
        experiment_name: str,
        *,
        spool_dir: Path,
        artifact_root: str | None = None,
        timeout_seconds: float = 60.0,
    ) -> None:
        """Connect, open the experiment, and send what an earlier tracker left in `spool_dir`.

        Raises `UserError` for a URI that cannot be used, `TrackerUnavailable` when MLflow does not
        answer.
        """
        check_usable(tracking_uri)
        limit_requests()
        self._uri = tracking_uri
        self._timeout_seconds = timeout_seconds
        self._client = connect(tracking_uri)
        self._experiment_id = open_experiment(
            self._client,
            tracking_uri,
            experiment_name,
            artifact_root or artifact_root_of(tracking_uri),
            timeout_seconds,
        )
        self._runs = RunLookup(self._client, tracking_uri, self._experiment_id, timeout_seconds)
        self._sweep_ids: dict[str, str] = {}
        self._log = BackgroundLog(self._client, tracking_uri, Path(spool_dir))

    @property
    def experiment_id(self) -> str:
        """MLflow's id of the experiment."""
        return self._experiment_id

    @property
    def counters(self) -> dict[str, int]:
        """Metric points by outcome; dropped and rejected are 0 in a healthy sweep."""
        return self._log.counters

    # Starting runs waits for MLflow.

    def start_sweep(
        self,
        sweep_id: str,
        params: Mapping[str, str],
        tags: Mapping[str, str],
        *,
        name: str | None = None,
    ) -> str:
        """The id of the parent run of `sweep_id`, created, or found and set to RUNNING again.

        Raises `UserError` when a parameter has another value than the run was started with: what
        may change belongs in `tags`. Raises `TrackerUnavailable`.
        """
        identity = {SWEEP_TAG: sweep_id, ROLE_TAG: "sweep"}
        return self._start(identity, name or sweep_id, params, tags)

    def start_trial(
        self,
        sweep_run_id: str,
        trial_number: int,
        params: Mapping[str, str],
        tags: Mapping[str, str],
        *,
        name: str | None = None,
    ) -> str:
        """The id of a trial's nested run, created or found; raises as `start_sweep` does."""
        identity = {
            SWEEP_TAG: self._sweep_id_of(sweep_run_id),
            TRIAL_TAG: str(trial_number),
            ROLE_TAG: "trial",
        }
        return self._start(
            identity,
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
        """The id of the nested run that confirms a trial with `seed`; raises as `start_sweep`."""
        identity = {
            SWEEP_TAG: self._sweep_id_of(sweep_run_id),
            CONFIRM_TAG: str(trial_number),
            SEED_TAG: str(seed),
            ROLE_TAG: "confirm",
        }
        return self._start(
            identity,
            f"confirm-{trial_number:04d}-seed-{seed}",
            params,
            {**tags, PARENT_TAG: sweep_run_id},
        )

    # Logging and ending runs never waits.

    def log(self, run_id: str, metrics: Mapping[str, float], step: int) -> None:
        """Log the metrics of one step; see `BackgroundLog.log_metrics`."""
        self._log.log_metrics(run_id, metrics, step)

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags on a run."""
        self._log.set_tags(run_id, tags)

    def finish(self, run_id: str, end: str, reason: str = "") -> None:
        """End a run as one of `ENDS`, after all that was logged before.

        A pruned run is FINISHED for MLflow.
        """
        self._log.set_state(run_id, end, look_up("end of a run", end, ENDS), reason)

    def flush(self, timeout_seconds: float) -> bool:
        """Wait until MLflow has everything that was logged; False when the time is up."""
        return self._log.flush(timeout_seconds)

    def close(self, timeout_seconds: float = 30.0) -> bool:
        """Flush and end; False when records are left, which the next tracker of `spool_dir` sends.

        It is safe to call it again.
        """
        return self._log.close(timeout_seconds)

    # Files and models wait for MLflow; each raises `TrackerUnavailable`.

    def log_text(self, run_id: str, path: str, text: str) -> None:
        """Store `text` as the run's artifact `path`, replacing it."""
        self._retry(lambda: self._client.log_text(run_id, text, path))

    def log_file(self, run_id: str, path: str, file: Path) -> None:
        """Store a local file as an artifact in the run's folder `path` ("" is its root)."""
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
        """The id of the logged model that stores an encoder (`encoder_file.pack`) with `metrics`.

        Called again with the same weights it gives the same model.
        """
        # The same points may be on their way: two writers of one point break sqlite's uniqueness.
        self._flush_or_raise()
        return self._retry(
            lambda: log_encoder_files(
                self._client, run_id, files, name=name, metrics=metrics, step=step, tags=tags or {}
            )
        )

    def register(self, model_id: str, name: str, measured: Measured) -> Registered:
        """Register a logged model as a version of `name`; the alias ``best`` moves to it unless
        what stands there is better or was measured otherwise.
        """
        return self._retry(lambda: register_model(self._client, model_id, name, measured))

    # Closing what is still RUNNING waits for MLflow; both raise `TrackerUnavailable`.

    def adopt(self, sweep_id: str) -> SweepRuns:
        """Take over a sweep whose driver died: send its records, close its trials as killed."""
        return self._close_running(
            sweep_id, "killed", "the driver of the sweep died", including_parent=False
        )

    def close_all(self, sweep_id: str, end: str, reason: str) -> SweepRuns:
        """Close every run of the sweep that is still RUNNING, the parent too."""
        look_up("end of a run", end, ENDS)
        return self._close_running(sweep_id, end, reason, including_parent=True)

    def _start(
        self,
        identity: Mapping[str, str],
        name: str,
        params: Mapping[str, str],
        tags: Mapping[str, str],
    ) -> str:
        run, is_new = self._runs.find_or_create(
            identity, name, {key: str(value) for key, value in params.items()}, tags
        )
        run_id: str = run.info.run_id
        self._sweep_ids[run_id] = identity[SWEEP_TAG]
        self._log.attach(run)
        if is_new:
            self._log.set_tags(run_id, {STATE_TAG: TrialState.RUNNING})
        else:
            self._log.set_state(run_id, TrialState.RUNNING, "RUNNING")
        return run_id

    def _sweep_id_of(self, sweep_run_id: str) -> str:
        if sweep_run_id not in self._sweep_ids:
            self._sweep_ids[sweep_run_id] = self._runs.get(sweep_run_id).data.tags[SWEEP_TAG]
        return self._sweep_ids[sweep_run_id]

    def _close_running(
        self, sweep_id: str, end: str, reason: str, *, including_parent: bool
    ) -> SweepRuns:
        self._flush_or_raise()
        runs = self._runs.delete_duplicates(self._runs.find({SWEEP_TAG: sweep_id}))
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
            self._log.set_state(run_id, end, ENDS[end], reason)
        self._flush_or_raise()
        run_ids = {number: run.info.run_id for number, run in sorted(trials.items())}
        return SweepRuns(parents[0].info.run_id if parents else None, run_ids, tuple(closed))

    def _flush_or_raise(self) -> None:
        if not self.flush(self._timeout_seconds):
            raise TrackerUnavailable(
                f"MLflow at {self._uri} did not take all records within "
                f"{self._timeout_seconds:.0f} s; they wait on disk"
            )

    def _retry(self, call: Callable[[], Result]) -> Result:
        return retry(call, self._uri, self._timeout_seconds)
