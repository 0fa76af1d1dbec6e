"""The background thread that sends records from the spool to MLflow, in batches, with retries.

Delivery is at least once: a lost reply, or a crash between sending and committing, repeats a
record. That is harmless: a metric's timestamp is its run's start time plus its step in
milliseconds, so MLflow sees an equal point and drops it; tags and status overwrite.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from orchestrator.tracking.mlflow_client import FIRST_PAUSE_SECONDS, first_line, is_temporary
from orchestrator.tracking.spool import Spool

_LOGGER = logging.getLogger(__name__)

METRICS_PER_REQUEST = 1000  # MLflow's limit
TAGS_PER_REQUEST = 100  # MLflow's limit
GATHER_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 15.0

Point = tuple[str, float, int]  # metric, value, step


class Sender:
    """Sends the records of `spool` until it is closed."""

    def __init__(self, client: Any, spool: Spool) -> None:
        self._client = client
        self._spool = spool
        self._start_times: dict[str, int] = {}
        self._changed = threading.Condition()
        self._closing = False
        self._num_waiting = 0
        self.counters = {
            "tracking/sent_points": 0,
            "tracking/failed_requests": 0,
            "tracking/rejected_records": 0,
        }
        self._thread = threading.Thread(target=self._run, name="mlflow-sender", daemon=True)
        self._thread.start()

    def flush(self, timeout_seconds: float) -> bool:
        """Wait until all records appended so far have arrived; False when the time is up."""
        target = self._spool.num_appended
        with self._changed:
            self._num_waiting += 1
            self._changed.notify_all()
            try:
                return self._changed.wait_for(
                    lambda: self._spool.num_committed >= target, timeout_seconds
                )
            finally:
                self._num_waiting -= 1

    def close(self, timeout_seconds: float) -> bool:
        """Flush, then end the thread; whether everything has arrived."""
        arrived = self.flush(timeout_seconds)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout_seconds + 1)
        return arrived

    @property
    def has_ended(self) -> bool:
        """Whether the thread has ended and will not use the spool again."""
        return not self._thread.is_alive()

    def _run(self) -> None:
        failure_pause = 0.0
        while self._rest(failure_pause):
            try:
                self._send_some()
                failure_pause = 0.0
            except Exception as error:
                if not is_temporary(error):
                    _LOGGER.exception("metrics wait in %s", self._spool.path)
                elif not failure_pause:
                    _LOGGER.warning(
                        "MLflow does not answer, metrics wait in %s: %s",
                        self._spool.path,
                        first_line(error),
                    )
                self.counters["tracking/failed_requests"] += 1
                failure_pause = min(
                    max(2 * failure_pause, FIRST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS
                )

    def _rest(self, failure_pause: float) -> bool:
        """Wait for more records, or for the server to recover; False when it is time to end.

        A call of `flush` that waits cuts this short.
        """
        with self._changed:
            if failure_pause:
                seconds = failure_pause * random.uniform(0.7, 1.0)
                self._changed.wait_for(
                    lambda: self._closing, min(seconds, 1.0) if self._num_waiting else seconds
                )
            else:
                self._changed.wait_for(
                    lambda: self._closing or self._num_waiting > 0, GATHER_SECONDS
                )
            return not self._closing

    def _send_some(self) -> None:
        while records := self._spool.read():
            self._deliver(records)
            with self._changed:
                self._spool.commit()
                self._changed.notify_all()
                if self._closing:
                    return

    def _deliver(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Send records of all kinds, status last: a run that looks finished is complete."""
        points: dict[str, list[Point]] = {}
        tags: dict[str, dict[str, str]] = {}
        ends: dict[str, tuple[str, int]] = {}
        for record in records:
            run_id = record["run"]
            if record["kind"] == "metrics":
                points.setdefault(run_id, []).extend(
                    (name, value, record["step"]) for name, value in record["metrics"].items()
                )
            elif record["kind"] == "tags":
                tags.setdefault(run_id, {}).update(record["tags"])
            else:
                ends[run_id] = (record["status"], record["time"])
        for run_id, run_points in points.items():
            for start in range(0, len(run_points), METRICS_PER_REQUEST):
                self._send_points(run_id, run_points[start : start + METRICS_PER_REQUEST])
        for run_id, run_tags in tags.items():
            self._send_tags(run_id, run_tags)
        for run_id, (status, time_ms) in ends.items():
            record = {"kind": "status", "run": run_id, "status": status, "time": time_ms}
            self._attempt(partial(self._set_status, run_id, status, time_ms), record)

    def _send_points(self, run_id: str, points: Sequence[Point]) -> None:
        try:
            self._log_points(run_id, points)
        except Exception as error:
            if is_temporary(error):
                raise
            # Name by name, so that a bad one costs its own points only.
            for name in dict.fromkeys(point[0] for point in points):
                mine = [point for point in points if point[0] == name]
                self._attempt(
                    partial(self._log_points, run_id, mine),
                    {"kind": "points", "run": run_id, "points": mine},
                )

    def _log_points(self, run_id: str, points: Sequence[Point]) -> None:
        from mlflow.entities import Metric

        start_ms = self._start_time(run_id)
        self._client.log_batch(
            run_id,
            metrics=[Metric(name, value, start_ms + step, step) for name, value, step in points],
            synchronous=True,
        )
        self.counters["tracking/sent_points"] += len(points)

    def _start_time(self, run_id: str) -> int:
        if run_id not in self._start_times:
            self._start_times[run_id] = self._client.get_run(run_id).info.start_time
        return self._start_times[run_id]

    def _send_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        items = list(tags.items())
        for start in range(0, len(items), TAGS_PER_REQUEST):
            some = dict(items[start : start + TAGS_PER_REQUEST])
            send = partial(
                self._client.log_batch,
                run_id,
                tags=[RunTag(*item) for item in some.items()],
                synchronous=True,
            )
            self._attempt(send, {"kind": "tags", "run": run_id, "tags": some})

    def _set_status(self, run_id: str, status: str, time_ms: int) -> None:
        if status == "RUNNING":
            self._client.update_run(run_id, status=status)
        else:
            self._client.set_terminated(run_id, status, end_time=time_ms)

    def _attempt(self, call: Callable[[], None], record: Mapping[str, Any]) -> None:
        """Do `call`; a record that MLflow refuses for good is logged, counted and set aside."""
        try:
            call()
        except Exception as error:
            if is_temporary(error):
                raise
            self.counters["tracking/rejected_records"] += 1
            _LOGGER.exception(
                "MLflow refuses a record for good; it is kept in rejected.jsonl beside %s",
                self._spool.path,
            )
            self._spool.reject(record, first_line(error))
