"""Which driver a sweep has: a small object that its holder renews, and that others may take over.

``lease.json`` says who drives and under which epoch. Its holder rewrites it every few seconds on
the condition that it is still what the holder wrote last (`if_match`). Whoever finds it held
watches whether it changes, by a clock of their own: clocks of other hosts are not compared. When it
changes, the holder is alive; when it does not for `ttl_seconds`, it is taken over with the next
epoch, on the condition that it still is what was seen, so that one of many wins.

A lease alone keeps no process from writing: one that was stopped may wake up at any time. What
makes that harmless is the journal, which an older epoch cannot append to (`journal_writer.py`).
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import TracebackType

from orchestrator.journal.lease_record import LeaseRecord, SeenLease, etag_of, read_lease
from orchestrator.journal.process_identity import is_dead, this_process
from prp_core.data.object_store import ObjectStore
from prp_core.errors import ObjectChanged, ObjectExists, PrpError, UserError

logger = logging.getLogger(__name__)


class LeaseHeld(UserError):
    """Another driver holds the lease and is alive; the text says who."""

    exit_code = 3


class LeaseLost(PrpError):
    """The lease was taken over: whoever held it must stop, and write nothing more."""


def _clock() -> float:
    """Seconds that go on while the machine is suspended, where the system counts those."""
    clock_id = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock_id is None else time.clock_gettime(clock_id)


@dataclass(frozen=True)
class LeaseTiming:
    """How often a lease is renewed and looked at, and how long a silence ends it; seconds."""

    ttl_seconds: float = 12.0
    renew_seconds: float = 3.0
    poll_seconds: float = 0.5
    clock: Callable[[], float] = field(default=_clock, compare=False)
    sleep: Callable[[float], None] = field(default=time.sleep, compare=False)
    now: Callable[[], float] = field(default=time.time, compare=False)  # since 1970, for people


def acquire(
    store: ObjectStore,
    what: str,
    *,
    key: str = "lease.json",
    after_epoch: int = 0,
    timing: LeaseTiming | None = None,
    on_lost: Callable[[LeaseLost], None] | None = None,
) -> Lease:
    """Take the lease at `key`, renewed by a thread from now on; its epoch is later than that of
    every lease before, and than `after_epoch`.

    `what` is what it is the lease of, for people ("Sweep demo-1"). `on_lost` is called, in the
    renewing thread, when another takes it over. Raises `LeaseHeld`, within some seconds, while its
    holder is alive: when it is seen to renew it, or was faster than we. A lease whose holder has
    ended on this machine is taken at once, any other after `ttl_seconds` without a change.
    """
    timing = timing or LeaseTiming()
    epoch = after_epoch
    while True:
        seen = read_lease(store, key)
        epoch = max(epoch, seen.record.epoch if seen else 0)
        if seen is not None and seen.record.is_held:
            seen = _await_silence(store, key, seen, what, timing)
        record = LeaseRecord(this_process(), epoch + 1, secrets.token_hex(8), timing.now())
        sent_at = timing.clock()
        try:
            info = store.write(
                key,
                record.to_bytes(),
                if_absent=seen is None,
                if_match=seen.etag if seen else None,
            )
        except (ObjectExists, ObjectChanged):
            faster = read_lease(store, key)
            if faster is not None and faster.record.is_held:
                raise _held(what, faster.record) from None
            continue
        return Lease(
            store, key, SeenLease(record, info.etag), what, sent_at, timing, on_lost=on_lost
        )


class Lease:
    """A lease that this process holds; made by `acquire`. A context manager that releases it."""

    def __init__(
        self,
        store: ObjectStore,
        key: str,
        mine: SeenLease,
        what: str,
        renewed_at: float,
        timing: LeaseTiming,
        *,
        on_lost: Callable[[LeaseLost], None] | None,
    ) -> None:
        self._store = store
        self._key = key
        self._mine = mine
        self._what = what
        self._renewed_at = renewed_at
        self._timing = timing
        self._on_lost = on_lost
        self._loss = ""  # why it is not ours any more
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_renewing, name="lease", daemon=True)
        self._thread.start()

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    @property
    def epoch(self) -> int:
        """The epoch under which this process may write."""
        return self._mine.record.epoch

    @property
    def holder(self) -> str:
        """This process, for people."""
        return str(self._mine.record.process)

    @property
    def is_lost(self) -> bool:
        """Whether another is known to have taken it over."""
        return bool(self._loss)

    def check(self) -> None:
        """Return when the lease was this process's within the last `ttl_seconds`, asking the store
        where the last renewal is older (the process was stopped, or the store away).

        Raises `LeaseLost`, or what the store raises.
        """
        if self._timing.clock() - self._renewed_at > self._timing.ttl_seconds:
            self.renew()
        if self._loss:
            raise LeaseLost(self._loss)

    def renew(self) -> None:
        """Renew it now; a loss is told to `on_lost` and shown by `is_lost`, and is final."""
        with self._lock:
            if self._loss or self._stop.is_set():
                return
            self._rewrite(is_held=True)
        if self._loss and self._on_lost is not None:
            self._on_lost(LeaseLost(self._loss))

    def release(self) -> None:
        """Give it up, so that the next driver need not wait; a second time does nothing."""
        with self._lock:
            if self._stop.is_set():
                return
            self._stop.set()
            if not self._loss:
                try:
                    self._rewrite(is_held=False)
                except PrpError as error:
                    logger.warning(
                        "%s: the lease was not given up (%s); the next driver waits %.0f s",
                        self._what,
                        error,
                        self._timing.ttl_seconds,
                    )
        if self._thread is not threading.current_thread():
            self._thread.join()

    def discard(self) -> None:
        """Give it up and remove it: nothing was written under it, and nothing is to be left."""
        with self._lock:
            if not self._stop.is_set() and not self._loss:
                self._stop.set()
                there = read_lease(self._store, self._key)
                if there is not None and there.record.token == self._mine.record.token:
                    self._store.delete(self._key)
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _rewrite(self, *, is_held: bool) -> None:
        record = replace(
            self._mine.record, num_renewals=self._mine.record.num_renewals + 1, is_held=is_held
        )
        etag = self._mine.etag
        while True:
            sent_at = self._timing.clock()
            try:
                info = self._store.write(self._key, record.to_bytes(), if_match=etag)
            except ObjectChanged:
                there = read_lease(self._store, self._key)
                if there is None or there.record.token != record.token:
                    self._loss = self._lost_to(there)
                    return
                etag = there.etag  # of an earlier renewal of ours, whose reply never came
            else:
                self._mine = SeenLease(record, info.etag)
                self._renewed_at = sent_at
                return

    def _lost_to(self, there: SeenLease | None) -> str:
        who = (
            f"{there.record.process} since {there.record.since_utc} (epoch {there.record.epoch})"
            if there is not None
            else "nobody (somebody removed it)"
        )
        return (
            f"{self._what}: this driver (epoch {self.epoch}) was silent for too long, and its "
            f"lease is now held by {who}; it stops without writing anything more"
        )

    def _keep_renewing(self) -> None:
        while not self._stop.wait(self._timing.renew_seconds) and not self._loss:
            try:
                self.renew()
            except PrpError as error:  # still ours as long as nobody else can write either
                logger.warning("%s: the lease was not renewed: %s", self._what, error)


def _await_silence(
    store: ObjectStore, key: str, seen: SeenLease, what: str, timing: LeaseTiming
) -> SeenLease | None:
    """The lease `seen` as soon as its holder is dead or silent for too long, or what is there when
    it was given up (None: nothing). Raises `LeaseHeld` when it is renewed.
    """
    silent_seconds, looked_at = 0.0, timing.clock()
    while silent_seconds < timing.ttl_seconds and not is_dead(seen.record.process):
        timing.sleep(timing.poll_seconds)
        now = timing.clock()
        # A watcher that was stopped itself, or slept with its machine, has watched for less.
        silent_seconds += min(now - looked_at, 2 * timing.poll_seconds)
        looked_at = now
        if etag_of(store, key) == seen.etag:
            continue
        changed = read_lease(store, key)
        if changed is None or not changed.record.is_held:
            return changed
        raise _held(what, changed.record)
    return seen


def _held(what: str, record: LeaseRecord) -> LeaseHeld:
    return LeaseHeld(
        f"{what} has a driver: {record.process}, since {record.since_utc} (epoch {record.epoch}). "
        "One driver at a time: wait for it, or stop it first"
    )
