"""The one writer of a journal: appends numbered objects that must be absent, and is fenced.

Whoever opens a journal for writing appends a record of kind ``opened`` first. An older writer finds
that number taken by its next append, which raises `Fenced`: it can write nothing any more, whatever
it believes about its lease. That holds because every number that was ever taken stays taken.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from orchestrator.journal.entry import Entry, record_line
from orchestrator.journal.object_journal import OPENED, JournalReader
from orchestrator.journal.segments import Merge, MergeSizes, Segment, next_merge, superseded
from prp_core.closed_at_exit import ClosedAtExit
from prp_core.data.object_store import ObjectStore
from prp_core.errors import ObjectExists, ObjectMissing, PrpError, StoreError

logger = logging.getLogger(__name__)


class Fenced(PrpError):
    """Another writer has opened the journal since: this one can append nothing any more."""


class JournalWriter(JournalReader, ClosedAtExit):
    """The journal under `prefix` of `store`, opened for writing under the `epoch` of a lease.

    Raises `Fenced` when a writer of a later epoch has opened it. Safe with threads. A context
    manager; leaving it writes what is pending and waits for a merge that runs.
    """

    def __init__(
        self,
        store: ObjectStore,
        prefix: str = "journal/",
        *,
        epoch: int,
        holder: str,
        sizes: MergeSizes = MergeSizes(),  # noqa: B008 - frozen
        merges_in_background: bool = True,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`holder` is who opens it, for people; `now` the time in seconds since 1970."""
        self.epoch = epoch
        self._token = secrets.token_hex(8)
        self._waiting: list[tuple[str, bytes]] = []  # remembered, not in an entry yet
        self._unsure: Entry | None = None  # sent, not acknowledged: it may be in the store
        self._fence = ""  # why nothing more may be appended
        self._batch = threading.local()
        self._append_lock = threading.RLock()  # held while the store is written to; `_lock` is not
        self._unmerged: dict[int, bytes] = {}
        self._merges_in_background = merges_in_background
        self._merge_lock = threading.Lock()
        self._merging: threading.Thread | None = None
        super().__init__(store, prefix, sizes=sizes)
        super().refresh()
        self.incarnation = self._open(holder, now)

    @property
    def is_durable(self) -> bool:
        """Whether everything that was appended is known to be in the store."""
        return not self._waiting and self._unsure is None

    def append(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Append `records` as one entry; they are in the store when this returns, all or none.

        Raises `Fenced`, or what the store raises. After `StoreUnavailable` it is not known whether
        they are there: they stay pending, `read` shows them, and the next append or `flush` writes
        them before anything else.
        """
        lines = [record_line(record) for record in records]
        if any(kind == OPENED for kind, _ in lines):
            raise ValueError(f"Records of kind {OPENED!r} are the journal's own")
        with self._append_lock:
            self._check_fence()
            with self._lock:
                self._waiting += lines
                self._remember([kind for kind, _ in lines], [line for _, line in lines])
            if not getattr(self._batch, "depth", 0):
                self.flush()

    def check(self) -> None:
        """Raise `Fenced` when another writer has opened the journal since; one request.

        For what is written elsewhere under this writer's epoch. It says nothing while an append is
        in doubt: the next one settles that.
        """
        with self._append_lock:
            self._check_fence()
            if self._unsure is None and self._list_numbers(1):
                self._fence = self._fenced_by(self._next)
                self._check_fence()

    def flush(self) -> None:
        """Write what is pending; when this returns, everything that was appended is in the
        store.
        """
        with self._append_lock:
            while not self.is_durable:
                self._check_fence()
                if self._unsure is None:
                    self._unsure = self._entry(self._waiting)
                    self._waiting = []
                if not self._is_written(self._unsure):
                    self._fence = self._fenced_by(self._next)
                    self._check_fence()
                self._unmerged[self._next] = self._unsure.to_bytes()
                self._next += 1
                self._unsure = None
            self._merge_when_due()

    def refresh(self) -> int:
        """Nothing: what another writer may have appended since is not this one's to build on."""
        return 0

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        """Appends of this thread within it become one entry, written when it ends, also by an
        exception.

        That entry is whole or absent, unless another thread appends meanwhile: an append writes all
        that was appended before it.
        """
        self._batch.depth = getattr(self._batch, "depth", 0) + 1
        try:
            yield
        finally:
            self._batch.depth -= 1
            if not self._batch.depth:
                self.flush()

    def close(self) -> None:
        """Write what is pending, unless this writer is fenced, and wait for a merge that runs."""
        if not self._fence:
            self.flush()
        merging = self._merging
        if merging is not None:
            merging.join()

    def merge(self) -> int:
        """Write every segment that is due, remove those that lie within it; how many were written.

        Safe at any time and any number of times, by a fenced writer too: what a segment holds does
        not depend on who writes it, and nothing is removed that is not in a larger one.
        """
        with self._merge_lock:
            segments = self._list_segments()
            num_written = 0
            while (due := next_merge(segments, self.num_entries, self._sizes)) is not None:
                try:
                    data = self._bytes_of(due)
                except ObjectMissing:  # another writer has merged these parts and removed them
                    return num_written
                with contextlib.suppress(ObjectExists):
                    self._store.write(self._segment_key(due.target), data, if_absent=True)
                segments.add(due.target)
                num_written += 1
            for segment in superseded(segments):
                self._store.delete(self._segment_key(segment))
            self._forget_merged(segments)
            return num_written

    def _open(self, holder: str, now: Callable[[], float]) -> int:
        while True:
            openings = self._openings
            if openings and openings[-1].epoch > self.epoch:
                raise Fenced(f"{self.uri} was opened by {openings[-1]}; epoch {self.epoch} is over")
            incarnation = 1 + sum(opening.epoch == self.epoch for opening in openings)
            record = {
                "kind": OPENED,
                "epoch": self.epoch,
                "incarnation": incarnation,
                "holder": holder,
                "at": now(),
            }
            entry = self._entry([record_line(record)])
            if self._is_written(entry):
                self._accept(entry, is_alone=True)
                return incarnation
            key, here = self._entry_key(self._next), Segment(self._next, self._next)
            self._accept_all([(key, here)])  # another writer was faster

    def _entry(self, lines: Sequence[tuple[str, bytes]]) -> Entry:
        kinds, texts = tuple(kind for kind, _ in lines), tuple(line for _, line in lines)
        return Entry(self._next, self.epoch, self._token, kinds, texts)

    def _is_written(self, entry: Entry) -> bool:
        """Write `entry`; whether it is in the store, now or by an earlier try whose reply was
        lost.
        """
        key = self._entry_key(entry.number)
        try:
            self._store.write(key, entry.to_bytes(), if_absent=True)
        except ObjectExists:
            return self._entries_of(key, Segment(entry.number, entry.number)) == [entry]
        return True

    def _check_fence(self) -> None:
        if self._fence:
            raise Fenced(self._fence)

    def _fenced_by(self, number: int) -> str:
        try:
            (entry,) = self._entries_of(self._entry_key(number), Segment(number, number))
            who = str(self._opening(entry))
        except StoreError:
            who = "another writer"
        return (
            f"{self.uri} was opened by {who}: this writer (epoch {self.epoch}, opening "
            f"{self.incarnation}) may not append any more"
        )

    def _accept(self, entry: Entry, *, is_alone: bool) -> None:
        super()._accept(entry, is_alone=is_alone)
        if is_alone:
            self._unmerged[entry.number] = entry.to_bytes()

    def _bytes_of(self, due: Merge) -> bytes:
        if due.parts:
            return b"".join(self._stored(self._segment_key(part), part) for part in due.parts)
        singles = (
            Segment(number, number) for number in range(due.target.first, due.target.last + 1)
        )
        return b"".join(
            self._unmerged.get(single.first) or self._stored(self._entry_key(single.first), single)
            for single in singles
        )

    def _stored(self, key: str, segment: Segment) -> bytes:
        return b"".join(entry.to_bytes() for entry in self._entries_of(key, segment))

    def _forget_merged(self, segments: set[Segment]) -> None:
        merged = max((segment.last for segment in segments), default=-1)
        for number in list(self._unmerged):
            if number <= merged:
                self._unmerged.pop(number)

    def _merge_when_due(self) -> None:
        is_running = self._merging is not None and self._merging.is_alive()
        if (
            self._merges_in_background
            and len(self._unmerged) >= self._sizes.smallest
            and not is_running
        ):
            self._merging = threading.Thread(
                target=self._merge_quietly, name="journal-merge", daemon=True
            )
            self._merging.start()

    def _merge_quietly(self) -> None:
        try:
            self.merge()
        except StoreError as error:  # nothing is lost: the next one does it
            logger.warning("The journal's entries were not merged this time: %s", error)
