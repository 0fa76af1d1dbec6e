"""The record log of a sweep: accepted at once, kept in the sweep's storage a second later.

No call here waits for the storage or for MLflow, and none raises because one of them is away: what
is said waits in memory until the thread of the log has appended it to a journal of its own
(`records/` of the sweep's folder), from where `sender.py` takes it to MLflow, in this process, in
the next one, or on another host.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.journal.journal_writer import Fenced, JournalWriter
from orchestrator.tracking.mlflow_client import first_line
from orchestrator.tracking.recorded import Record, Recorded
from prp_core.errors import StoreError

_LOGGER = logging.getLogger(__name__)

RECORD = "record"
SENT = "sent"
GATHER_SECONDS = 1.0
MARK_SECONDS = 5.0  # how long a progress mark waits for records to go with
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 15.0
EVERY_STEP = 1 << 62

MakeRecords = Callable[[Recorded], list[Record]]


@dataclass(frozen=True)
class PointsHeld:
    """The answer to points of a run; crosses processes.

    `holder` has them in memory, and all that it was given before up to `durable_step` is in the
    storage. What another holder had in memory alone is lost with it.
    """

    holder: str
    durable_step: int


class RecordLog:
    """The records of one sweep. Safe with threads."""

    def __init__(
        self, open_journal: Callable[[], JournalWriter], gather_seconds: float = GATHER_SECONDS
    ) -> None:
        """`open_journal` is called by the log's thread, again where the storage is away."""
        self.holder = secrets.token_hex(8)
        self.recorded = Recorded()
        self.fenced = ""  # by whom, so that nothing more is written
        self.problem = ""  # why the storage takes nothing at the moment
        self._open_journal = open_journal
        self._gather_seconds = gather_seconds
        self._changed = threading.Condition()
        self._journal: JournalWriter | None = None
        self._waiting: list[Record | MakeRecords] = []
        self._steps: dict[str, int] = {}  # run -> the first step that waits
        self._steps_handed: dict[str, int] = {}  # to the journal, which is not known to have them
        self._num_accepted = 0
        self._num_handed = 0
        self._num_durable = 0
        self._num_records = 0  # in the journal
        self._mark: Record | None = None
        self._mark_due = 0.0
        self._num_hurrying = 0
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="records", daemon=True)
        self._thread.start()

    # ---- for whoever has something to say; none of it waits

    def add(self, one: Record | MakeRecords) -> None:
        """Accept a record, or a function of what is recorded that makes some."""
        with self._changed:
            self._waiting.append(one)
            self._num_accepted += 1
            self._changed.notify_all()

    def add_points(self, run: str, metrics: Mapping[str, Any], step: int) -> PointsHeld:
        """Accept the metrics of one step of a run; see `Recorded.points`."""
        given = dict(metrics)
        with self._changed:
            self._steps[run] = min(step, self._steps.get(run, step))
            self.add(lambda recorded: recorded.points(run, given, step))
            return self.held(run)

    def held(self, run: str) -> PointsHeld:
        """What of the points of `run` that were accepted here is in the storage."""
        with self._changed:
            waiting = [steps[run] for steps in (self._steps, self._steps_handed) if run in steps]
        return PointsHeld(self.holder, min(waiting) - 1 if waiting else EVERY_STEP)

    # ---- for whoever ends

    def flush(self, timeout_seconds: float) -> bool:
        """Wait until the storage has what was accepted so far; False when the time is up."""
        with self._changed:
            target = self._num_accepted

            def is_over() -> bool:
                is_open = self._journal is not None
                return (is_open and self._num_durable >= target) or bool(self.fenced)

            return self._hurry(is_over, timeout_seconds) and not self.fenced

    def close(self, timeout_seconds: float) -> bool:
        """Write what waits and end; False where the storage does not have all of it."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout_seconds)
        return self._num_durable == self._num_accepted

    # ---- for the sender

    @property
    def num_records(self) -> int:
        """How many records the storage has."""
        return self._num_records

    @property
    def num_waiting(self) -> int:
        """How many the storage does not have yet."""
        return self._num_accepted - self._num_durable

    def wait_until_open(self, timeout_seconds: float) -> bool:
        """Whether the journal is open, within the time."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._journal is not None or bool(self.fenced), timeout_seconds
            )
            return self._journal is not None

    def wait_for_records(self, after: int, timeout_seconds: float) -> bool:
        """Whether there are more than `after` records, within the time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._num_records > after, timeout_seconds)

    def read(self, start: int, stop: int) -> list[Record]:
        """The records `start` to `stop`, which the storage has."""
        assert self._journal is not None
        return self._journal.read(RECORD, start, min(stop, self._num_records))

    def last_mark(self) -> Record | None:
        """How far an earlier sender came."""
        assert self._journal is not None
        marks = self._journal.read(SENT, self._journal.num_records(SENT) - 1)
        return marks[-1] if marks else None

    def keep_mark(self, mark: Record, num_forgotten: int) -> None:
        """Keep how far the sender has come, with the next records or a little later; the first
        `num_forgotten` records are read no more.
        """
        with self._changed:
            if self._mark is None:
                self._mark_due = time.monotonic() + MARK_SECONDS
            self._mark = {"kind": SENT, **mark}
            self._changed.notify_all()
        assert self._journal is not None
        self._journal.forget(RECORD, num_forgotten)

    # ---- the thread

    def _run(self) -> None:
        pause = 0.0
        while True:
            is_last = self._rest(pause)
            try:
                self._write()
                pause = 0.0
            except Fenced as error:
                _LOGGER.warning("nothing more is recorded: %s", error)
                with self._changed:
                    self.fenced = str(error)
                    self._changed.notify_all()
                return
            # whatever the storage runs into, what was said waits in memory and is tried again
            except Exception as error:  # noqa: BLE001
                if not self.problem:
                    _LOGGER.warning("records wait in memory: %s", first_line(error))
                self.problem = first_line(error)
                pause = min(max(2 * pause, FIRST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
            if is_last:
                self._close_journal()
                return

    def _rest(self, pause: float) -> bool:
        """Wait until there is something to write, and a little longer for what comes with it;
        True when it is the last time.
        """
        with self._changed:
            if pause:
                seconds = min(pause, 1.0) if self._num_hurrying else pause
                self._changed.wait_for(lambda: self._closing, seconds)
            elif self._journal is not None:
                while not (self._is_urgent() or self._waiting or self._mark_is_due()):
                    self._changed.wait(MARK_SECONDS if self._mark is not None else None)
                if not self._mark_is_due():
                    self._changed.wait_for(self._is_urgent, self._gather_seconds)
            return self._closing

    def _is_urgent(self) -> bool:
        return self._closing or self._num_hurrying > 0

    def _mark_is_due(self) -> bool:
        return self._mark is not None and time.monotonic() >= self._mark_due

    def _write(self) -> None:
        journal = self._journal or self._open()
        with self._changed:
            taken = self._waiting
            self._waiting = []
            mark = self._mark
            self._mark = None
            for run, step in self._steps.items():
                self._steps_handed[run] = min(step, self._steps_handed.get(run, step))
            self._steps = {}
            self._num_handed += len(taken)
        records = [one for item in taken for one in self._made(item)]
        if mark is not None:
            journal.forget(SENT, journal.num_records(SENT))
            records.insert(0, mark)
        if records:
            journal.append(records)
        else:
            journal.flush()
        with self._changed:
            self.problem = ""
            self._steps_handed = {}
            self._num_durable = self._num_handed
            self._num_records = journal.num_records(RECORD)
            self._changed.notify_all()

    def _close_journal(self) -> None:
        if self._journal is not None and not self.problem:
            try:
                self._journal.close()
            except (StoreError, Fenced) as error:
                _LOGGER.warning("the records' journal was not closed: %s", error)

    def _made(self, item: Record | MakeRecords) -> list[Record]:
        try:
            records = item(self.recorded) if callable(item) else [item]
        # a record that cannot be made is a fault of ours; the others are kept all the same
        except Exception:
            _LOGGER.exception("not recorded: %r", item)
            return []
        self.recorded.add(records)
        return records

    def _open(self) -> JournalWriter:
        journal = self._open_journal()
        self.recorded.add(journal.read(RECORD))
        with self._changed:
            self._journal = journal
            self._num_records = journal.num_records(RECORD)
            self._changed.notify_all()
        return journal

    def _hurry(self, condition: Callable[[], bool], timeout_seconds: float) -> bool:
        self._num_hurrying += 1
        self._changed.notify_all()
        try:
            return self._changed.wait_for(condition, timeout_seconds)
        finally:
            self._num_hurrying -= 1
