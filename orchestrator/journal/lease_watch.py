"""Whether a sweep has a driver, for whoever only looks: the holder of its lease, if it is alive."""

from __future__ import annotations

from orchestrator.journal.lease import LeaseTiming
from orchestrator.journal.lease_record import SeenLease, read_lease
from orchestrator.journal.process_identity import ProcessIdentity, is_dead, is_here
from prp_core.data.object_store import ObjectStore


class LeaseWatch:
    """Looks at the lease at `key` again and again; writes nothing."""

    def __init__(
        self, store: ObjectStore, key: str = "lease.json", *, timing: LeaseTiming | None = None
    ) -> None:
        self._store = store
        self._key = key
        self._timing = timing or LeaseTiming()
        self._seen: SeenLease | None = None
        self._changed_at: float | None = None  # None: it was not seen to change

    def holder(self) -> ProcessIdentity | None:
        """The process that holds the lease; None where none does, or where it has ended.

        Whether a process of another machine is alive shows when it renews its lease: the first look
        waits for that, for two renewals at most.
        """
        deadline = self._timing.clock() + 2 * self._timing.renew_seconds + self._timing.poll_seconds
        while (process := self._held_by()) is not None:
            if is_here(process):
                return process
            now = self._timing.clock()
            if self._changed_at is not None:
                return process if now - self._changed_at < self._timing.ttl_seconds else None
            if now >= deadline:
                self._changed_at = now - self._timing.ttl_seconds
                return None
            self._timing.sleep(self._timing.poll_seconds)
        return None

    def _held_by(self) -> ProcessIdentity | None:
        """The holder by the lease as it is now, which is compared with what was seen before."""
        now = read_lease(self._store, self._key)
        if self._seen is not None and (now is None or now.etag != self._seen.etag):
            self._changed_at = self._timing.clock()
        self._seen = now
        if now is None or not now.record.is_held or is_dead(now.record.process):
            return None
        return now.record.process
