"""Background logging of metrics, tags and run status: accepted on disk, sent to MLflow later.

No call here waits for MLflow or raises because it is away. A record that was accepted is in the
spool (`spool.py`) when the call returns, and a thread (`sender.py`) delivers it; after a crash the
next tracker with the same spool folder does.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.tracking.sender import METRICS_PER_REQUEST, Sender
from orchestrator.tracking.spool import Spool
from orchestrator.tracking.tags import NONFINITE_TAG, REASON_TAG, STATE_TAG, shortened_tags

_LOGGER = logging.getLogger(__name__)

COUNTERS = ("accepted_points", "repeated_points", "nonfinite_points", "dropped_points")


class BackgroundLog:
    """The records of an experiment's runs on their way to MLflow. Safe with threads."""

    def __init__(self, client: Any, tracking_uri: str, spool_dir: Path) -> None:
        """Start the sender, which begins with what an earlier log left in `spool_dir`."""
        self._lock = threading.Lock()
        self._last_steps: dict[tuple[str, str], int] = {}
        self._nonfinite: set[tuple[str, str]] = set()
        self._is_open = True
        self._counters = {f"tracking/{name}": 0 for name in COUNTERS}
        self._spool = Spool(spool_dir, tracking_uri, self._recover)
        self._sender = Sender(client, self._spool)

    @property
    def counters(self) -> dict[str, int]:
        """Metric points by outcome; dropped and rejected are 0 in a healthy sweep."""
        return {**self._counters, **self._sender.counters}

    def attach(self, run: Any) -> None:
        """Continue the log of `run`, an MLflow run that may hold metrics already."""
        run_id: str = run.info.run_id
        with self._lock:
            for metric in run.data.to_proto().metrics:
                self._see_step(run_id, metric.key, metric.step)
            self._nonfinite |= {
                (run_id, tag.removeprefix(NONFINITE_TAG))
                for tag in run.data.tags
                if tag.startswith(NONFINITE_TAG)
            }

    def log_metrics(self, run_id: str, metrics: Mapping[str, float], step: int) -> None:
        """Accept the metrics of one step; steps of one metric ascend within a run.

        A step at or before the last one of its metric is a repeat (a trial resumed from an earlier
        checkpoint): the first value stays, and the repeat is counted. A value that is not finite is
        not stored: its first step stands in the tag ``prp.nonfinite.<metric>``.
        """
        with self._lock:
            finite: dict[str, float] = {}
            for name, value in metrics.items():
                number = _as_float(value)
                if number is None:
                    self._counters["tracking/dropped_points"] += 1
                elif not math.isfinite(number):
                    self._counters["tracking/nonfinite_points"] += 1
                    self._tag_nonfinite(run_id, name, number, step)
                elif step <= self._last_steps.get((run_id, name), -1):
                    self._counters["tracking/repeated_points"] += 1
                else:
                    finite[name] = number
            names = list(finite)
            for start in range(0, len(names), METRICS_PER_REQUEST):
                some = {name: finite[name] for name in names[start : start + METRICS_PER_REQUEST]}
                self._append_metrics(run_id, some, step)

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags on a run."""
        self._append({"kind": "tags", "run": run_id, "tags": shortened_tags(tags)})

    def set_state(self, run_id: str, state: str, status: str, reason: str = "") -> None:
        """Set our `state` and MLflow's `status` of a run, after all that was accepted before."""
        self.set_tags(run_id, {STATE_TAG: state, REASON_TAG: reason})
        time_ms = int(time.time() * 1000)
        self._append({"kind": "status", "run": run_id, "status": status, "time": time_ms})

    def flush(self, timeout_seconds: float) -> bool:
        """Wait until MLflow has everything that was accepted; False when the time is up."""
        return self._sender.flush(timeout_seconds)

    def close(self, timeout_seconds: float) -> bool:
        """Flush and end; False when records are left in the spool folder."""
        if not self._is_open:
            return True
        arrived = self._sender.close(timeout_seconds)
        with self._lock:
            self._is_open = False
            # Else a request still hangs in the thread, and the file goes with the process.
            if self._sender.has_ended:
                self._spool.close()
        return arrived

    def _append_metrics(self, run_id: str, metrics: Mapping[str, float], step: int) -> None:
        record = {"kind": "metrics", "run": run_id, "step": int(step), "metrics": dict(metrics)}
        if self._append(record):
            self._counters["tracking/accepted_points"] += len(metrics)
            self._last_steps.update({(run_id, name): step for name in metrics})
        else:
            self._counters["tracking/dropped_points"] += len(metrics)

    def _tag_nonfinite(self, run_id: str, name: str, number: float, step: int) -> None:
        if (run_id, name) not in self._nonfinite:
            self._nonfinite.add((run_id, name))
            tags = {NONFINITE_TAG + name: f"{number} at step {step}"}
            self._append({"kind": "tags", "run": run_id, "tags": tags})

    def _recover(self, record: Mapping[str, Any]) -> None:
        """Learn the steps of a record that an earlier log accepted."""
        if record["kind"] == "metrics":
            for name in record["metrics"]:
                self._see_step(record["run"], name, record["step"])

    def _see_step(self, run_id: str, name: str, step: int) -> None:
        last = self._last_steps.get((run_id, name), -1)
        self._last_steps[run_id, name] = max(last, step)

    def _append(self, record: Mapping[str, Any]) -> bool:
        """Accept a record; False, with a warning, where the disk is full or the log is closed."""
        try:
            if not self._is_open:
                raise OSError("the tracker is closed")
            self._spool.append(record)
        except OSError as error:
            _LOGGER.warning("not tracked: %s (%s)", record, error)
            return False
        return True


def _as_float(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
