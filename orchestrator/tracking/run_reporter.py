"""A run of MLflow that one process writes, found again by a key, as a `Reporter` of its curves."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from orchestrator.journal.open_runs import note_runs_at
from orchestrator.tracking.dead_runs import close_in_background
from orchestrator.tracking.delivery import METRICS_PER_REQUEST
from orchestrator.tracking.experiment import open_experiment
from orchestrator.tracking.mlflow_client import (
    Result,
    connect,
    first_line,
    is_temporary,
    limit_requests,
    retry,
)
from orchestrator.tracking.run_owner import Heartbeat, owner_tags
from orchestrator.tracking.tags import shortened_tags
from orchestrator.tracking.tracking_uri import artifact_root_of
from prp_core.reporting import Points

_LOGGER = logging.getLogger(__name__)

KEY_TAG = "prp.run_key"
START_SECONDS = 60.0
END_SECONDS = 5.0  # for telling how a run ended that did not end well


class RunReporter:
    """Logs to the run of `experiment` with the tag `key`, which is made where there is none.

    A context manager that ends the run: as FINISHED, as KILLED after Ctrl-C, or as FAILED. The run
    says which process writes it, so that one whose process was killed is closed by a later start
    (`dead_runs.py`). A point that is logged twice is the same point: its time is a function of its
    step. What MLflow did not take waits for the next point, and `unconfirmed` gives it to
    checkpoints. Raises `TrackerUnavailable` when MLflow does not answer at the start or at the end.
    """

    def __init__(
        self,
        tracking_uri: str,
        experiment: str,
        *,
        key: str,
        name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        key_tag: str = KEY_TAG,
    ) -> None:
        limit_requests()
        self.client = connect(tracking_uri)
        self._uri = tracking_uri
        self._pending: Points = []
        self.reason = ""
        self._note = note_runs_at(tracking_uri)

        def found_or_made() -> Any:
            root = artifact_root_of(tracking_uri)
            number = open_experiment(self.client, tracking_uri, experiment, root)
            condition = f"tags.`{key_tag}` = '{key}'"
            found = self.client.search_runs([number], filter_string=condition, max_results=1)
            if found:
                run = found[0]
            else:
                all_tags = shortened_tags({**tags, **owner_tags(), key_tag: key})
                run = self.client.create_run(number, run_name=name, tags=all_tags)
            for path, value in params.items():
                if path not in run.data.params:  # whoever made the run may have been killed
                    self.client.log_param(run.info.run_id, path, value)
            return run

        self._run = retry(found_or_made, tracking_uri, START_SECONDS)
        self._heartbeat = Heartbeat(self.client, self.run_id)
        retry(self._heartbeat.beat, tracking_uri, START_SECONDS)
        close_in_background([tracking_uri])

    def __enter__(self) -> RunReporter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self._end("FINISHED", START_SECONDS)
            return
        try:
            self._end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED", END_SECONDS)
        # the error of the work itself is what the person is told
        except Exception as unsaid:  # noqa: BLE001
            _LOGGER.warning("run %s was not closed: %s", self.run_id, first_line(unsaid))

    @property
    def run_id(self) -> str:
        """MLflow's id of the run."""
        return str(self._run.info.run_id)

    def told(self, call: Callable[[], Result]) -> Result:
        """The result of `call`, which tells MLflow more of the run and may be repeated; it is tried
        again while MLflow is away. Raises `TrackerUnavailable`.
        """
        return retry(call, self._uri, START_SECONDS)

    def log(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Log `metrics`, or keep them for later where MLflow is away."""
        self.log_again([(step, dict(metrics))])

    def at_rung(
        self, *, epoch: int, step: int, metrics: Mapping[str, float], hits: Mapping[str, bool]
    ) -> bool:
        """Log `metrics`; the run goes on."""
        self.log({**metrics, "epoch": float(epoch)}, step=step)
        return True

    def unconfirmed(self) -> Points:
        """What MLflow did not take yet."""
        return list(self._pending)

    def log_again(self, points: Points) -> None:
        """Log `points` after what waits."""
        self._pending += points
        try:
            self._send()
        except Exception as error:
            if not is_temporary(error):
                raise
            self.reason = first_line(error)

    def _send(self) -> None:
        """Log what waits. Raises what MLflow raises."""
        from mlflow.entities import Metric

        batch = [
            Metric(name, value, self._run.info.start_time + step, step)
            for step, values in self._pending
            for name, value in values.items()
        ]
        for first in range(0, len(batch), METRICS_PER_REQUEST):
            some = batch[first : first + METRICS_PER_REQUEST]
            self.client.log_batch(self.run_id, metrics=some, synchronous=True)
        self._pending = []

    def _end(self, status: str, timeout_seconds: float) -> None:
        """End the run with MLflow's `status`, after what waits."""
        self._heartbeat.stop()

        def tell() -> None:
            self._send()
            self.client.set_terminated(self.run_id, status)

        retry(tell, self._uri, timeout_seconds)
        self._note.remove()
