"""A run of MLflow that one process writes, found again by a key, as a `Reporter` of its curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.tracking.experiment import open_experiment
from orchestrator.tracking.mlflow_client import (
    connect,
    first_line,
    is_temporary,
    limit_requests,
    retry,
)
from orchestrator.tracking.tags import shortened_tags
from orchestrator.tracking.tracking_uri import artifact_root_of
from prp_core.reporting import Points

KEY_TAG = "prp.run_key"
START_SECONDS = 60.0


class RunReporter:
    """Logs to the run of `experiment` with the tag `key`, which is made where there is none.

    A point that is logged twice is the same point: its time is a function of its step. What MLflow
    did not take waits for the next point, and `unconfirmed` gives it to checkpoints. Raises
    `TrackerUnavailable` when MLflow does not answer at the start.
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
    ) -> None:
        limit_requests()
        self.client = connect(tracking_uri)
        self._pending: Points = []
        self.reason = ""

        def found_or_made() -> Any:
            root = artifact_root_of(tracking_uri)
            number = open_experiment(self.client, tracking_uri, experiment, root)
            condition = f"tags.`{KEY_TAG}` = '{key}'"
            found = self.client.search_runs([number], filter_string=condition, max_results=1)
            if found:
                run = found[0]
                self.client.update_run(run.info.run_id, status="RUNNING")
            else:
                all_tags = shortened_tags({**tags, KEY_TAG: key})
                run = self.client.create_run(number, run_name=name, tags=all_tags)
            for path, value in params.items():
                if path not in run.data.params:  # whoever made the run may have been killed
                    self.client.log_param(run.info.run_id, path, value)
            return run

        self._run = retry(found_or_made, tracking_uri, START_SECONDS)

    @property
    def run_id(self) -> str:
        """MLflow's id of the run."""
        return str(self._run.info.run_id)

    def log(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Log `metrics`, or keep them for later where MLflow is away."""
        self.log_again([(step, dict(metrics))])

    def at_rung(self, *, epoch: int, step: int, metrics: Mapping[str, float]) -> bool:
        """Log `metrics`; the run goes on."""
        self.log({**metrics, "epoch": float(epoch)}, step=step)
        return True

    def unconfirmed(self) -> Points:
        """What MLflow did not take yet."""
        return list(self._pending)

    def log_again(self, points: Points) -> None:
        """Log `points` after what waits."""
        from mlflow.entities import Metric

        self._pending += points
        batch = [
            Metric(name, value, self._run.info.start_time + step, step)
            for step, values in self._pending
            for name, value in values.items()
        ]
        try:
            self.client.log_batch(self.run_id, metrics=batch, synchronous=True)
        except Exception as error:
            if not is_temporary(error):
                raise
            self.reason = first_line(error)
            return
        self._pending = []

    def close(self, status: str) -> None:
        """End the run as FINISHED or FAILED, after what waits."""
        if self._pending:
            self.log_again([])
        self.client.set_terminated(self.run_id, status)
