"""The background thread that takes the records of a sweep from its log to MLflow, with retries.

It sends what the sweep's storage has, in order, and keeps how far it came beside the records, so
that the next sender goes on there, in this process or another one. Delivery is at least once
(`delivery.py` says why that is harmless).
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.config.typed_command import prp
from orchestrator.tracking.delivery import Aside, Delivery, Numbered
from orchestrator.tracking.mlflow_client import (
    FIRST_PAUSE_SECONDS,
    Refused,
    is_temporary,
    root_cause,
)
from orchestrator.tracking.record_log import RecordLog

_LOGGER = logging.getLogger(__name__)

RECORDS_AT_ONCE = 2000
LONGEST_PAUSE_SECONDS = 15.0
ASIDE_SECONDS = 60.0  # between two tries of what was set aside


@dataclass(frozen=True)
class Unsent:
    """What MLflow does not have yet, and why; of a sweep whose records all arrived, nothing."""

    num_records: int
    reason: str = ""

    def line(self, sweep_id: str) -> str:
        """It in one line, with what to do; empty where nothing waits."""
        if not self.num_records:
            return ""
        why = f" ({self.reason})" if self.reason else ""
        return (
            f"{self.num_records} records of this sweep wait for MLflow{why}; "
            f"send them with: {prp(f'publish {sweep_id}')}"
        )


@dataclass(frozen=True)
class Sent:
    """What a sender has sent: records, metric points, and the runs that they are about."""

    num_records: int
    num_points: int
    num_runs: int


class Sender:
    """Sends the records of `log` until it is closed; `connect` opens what takes them."""

    def __init__(self, log: RecordLog, connect: Callable[[], Delivery]) -> None:
        self._log = log
        self._connect = connect
        self._changed = threading.Condition()
        self._position = 0
        self._aside: dict[str, Aside] = {}
        self._aside_tried = 0.0
        self._problem = ""
        self._num_failed = 0
        self._num_points = self._num_refused = self._num_sent = 0
        self._runs_sent: set[str] = set()
        self._num_hurrying = 0
        self._closing = False
        self.delivery: Delivery | None = None
        self._thread = threading.Thread(target=self._run, name="mlflow-sender", daemon=True)
        self._thread.start()

    @property
    def counters(self) -> dict[str, int]:
        """What was sent, what was tried in vain, and what MLflow refused for good."""
        return {
            "tracking/sent_points": self._num_points,
            "tracking/failed_requests": self._num_failed,
            "tracking/refused_records": self._num_refused,
        }

    def unsent(self) -> Unsent:
        """What MLflow does not have yet."""
        num_waiting = self._log.num_records - self._position + self._log.num_waiting
        reasons = [self._log.problem, self._problem, *(one.reason for one in self._aside.values())]
        reason = next((reason for reason in reasons if reason), "")
        return Unsent(num_waiting + len(self._aside), reason)

    def sent(self) -> Sent:
        """What was sent."""
        return Sent(self._num_sent, self._num_points, len(self._runs_sent))

    def flush(self, timeout_seconds: float) -> bool:
        """Wait until MLflow has all that the log has; False when the time is up, or where something
        is refused.
        """
        target = self._log.num_records
        with self._changed:
            self._num_hurrying += 1
            self._aside_tried = 0.0
            self._changed.notify_all()
            try:
                return self._changed.wait_for(
                    lambda: self._position >= target and not self._aside, timeout_seconds
                )
            finally:
                self._num_hurrying -= 1

    def close(self, timeout_seconds: float) -> None:
        """End the thread, unless a request hangs in it for longer than that."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout_seconds)

    # ---- the thread

    def _run(self) -> None:
        while not self._log.wait_until_open(1.0):
            if self._closing or self._log.fenced:
                return
        self._take_up()
        pause = 0.0
        while not self._closing and not self._log.fenced:
            try:
                self._send()
                pause = 0.0
                self._problem = ""
            # whatever a server, a proxy or a database driver raises, the records wait
            except Exception as error:  # noqa: BLE001
                self._say(error)
                self._num_failed += 1
                pause = min(max(2 * pause, FIRST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
            self._rest(pause)

    def _take_up(self) -> None:
        mark = self._log.last_mark()
        if mark is not None:
            self._position = int(mark["upto"])
            self._aside = {name: Aside(*one) for name, one in mark["aside"].items()}

    def _rest(self, pause: float) -> None:
        """Wait for records, or for the server to recover; a `flush` that waits cuts it short."""
        if not pause:
            while not self._closing and not self._log.fenced and not self._aside_is_due():
                if self._log.wait_for_records(self._position, 0.5):
                    return
            return
        seconds = pause * random.uniform(0.7, 1.0)
        with self._changed:
            if self._num_hurrying:
                self._changed.wait_for(lambda: self._closing, min(seconds, 1.0))
            else:
                self._changed.wait_for(lambda: self._closing or self._num_hurrying > 0, seconds)

    def _aside_is_due(self) -> bool:
        due = self._aside_tried + (1.0 if self._num_hurrying else ASIDE_SECONDS)
        return bool(self._aside) and time.monotonic() >= due

    def _send(self) -> None:
        delivery = self.delivery
        if delivery is None:
            delivery = self.delivery = self._connect()
        try:
            if self._aside_is_due():
                self._send_aside(delivery)
            while not self._closing and self._position < self._log.num_records:
                stop = min(self._position + RECORDS_AT_ONCE, self._log.num_records)
                records = self._numbered(self._position, stop)
                delivery.deliver(records, self._aside)
                self._num_sent += len(records)
                self._runs_sent |= {one["run"] for _, one in records if "run" in one}
                self._arrived(stop)
        except Exception as error:
            if not is_temporary(error):
                self.delivery = None  # its experiment or its runs may be others by now
            raise
        finally:
            self._num_points += delivery.num_points
            self._num_refused += delivery.num_refused
            delivery.num_points = delivery.num_refused = 0

    def _send_aside(self, delivery: Delivery) -> None:
        self._aside_tried = time.monotonic()
        first = min(one.first for one in self._aside.values())
        records = self._numbered(first, self._position)
        self._aside = delivery.deliver_again(self._aside, records)
        self._arrived(self._position)

    def _numbered(self, start: int, stop: int) -> list[Numbered]:
        return list(enumerate(self._log.read(start, stop), start))

    def _arrived(self, position: int) -> None:
        aside = {name: [one.first, one.reason] for name, one in self._aside.items()}
        needed = min([position, *(one.first for one in self._aside.values())])
        self._log.keep_mark({"upto": position, "aside": aside}, needed)
        with self._changed:
            self._position = position
            self._changed.notify_all()

    def _say(self, error: Exception) -> None:
        if isinstance(error, Refused):
            reason = str(error)
        else:
            reason = f"MLflow does not answer: {root_cause(error)}"
        if not self._problem:
            _LOGGER.warning("records wait for MLflow: %s", reason)
        self._problem = reason
