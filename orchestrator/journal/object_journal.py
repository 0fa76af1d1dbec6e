"""A journal as numbered objects in any store with conditional writes, read into memory.

Entry 42 is the object ``entries/000000000/000000000042.jsonl``. Entries are never removed; segments
(`segments.py`) are copies of many entries, so that a journal is read with few requests.
`journal_writer.py` appends.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from orchestrator.journal.entry import BadEntry, Entry, parse_entries, parse_record
from orchestrator.journal.segments import MergeSizes, Segment, cover, parse_segment
from prp_core.data.object_store import ObjectStore, read_all
from prp_core.errors import CorruptObject, ObjectMissing

OPENED = "opened"
ENTRIES = "entries/"
SEGMENTS = "segments/"
ENTRIES_PER_FOLDER = 1000
NUM_READERS = 16
NUM_READS = 3  # of an object whose bytes arrive damaged


@dataclass(frozen=True)
class Opening:
    """That a writer opened the journal: the epoch of its lease, which opening of that epoch this is
    (from 1), who and when (seconds since 1970).
    """

    epoch: int
    incarnation: int
    holder: str
    writer: str
    at: float

    def __str__(self) -> str:
        when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.at))
        return f"{self.holder} (epoch {self.epoch}, opening {self.incarnation}, {when})"


class JournalReader:
    """The journal under `prefix` of `store`, read from memory; `refresh` reads what is new.

    Raises `CorruptObject`, which names the object, when what lies there is no journal's.
    """

    def __init__(
        self,
        store: ObjectStore,
        prefix: str = "journal/",
        *,
        sizes: MergeSizes = MergeSizes(),  # noqa: B008 - frozen
    ) -> None:
        """Read what is there. `sizes` decide when segments are made and worth looking for."""
        self._store = store
        self._prefix = prefix
        self._sizes = sizes
        self._next = 0
        self._lines: dict[str, list[bytes]] = {}
        self._openings: list[Opening] = []
        self._lock = threading.RLock()
        self.refresh()

    @property
    def uri(self) -> str:
        """Where the journal lies."""
        return f"{self._store.uri}/{self._prefix.rstrip('/')}"

    @property
    def num_entries(self) -> int:
        """How many entries are known to be in the store."""
        return self._next

    @property
    def openings(self) -> Sequence[Opening]:
        """Who opened the journal for writing, the last one last."""
        return tuple(self._openings)

    def num_records(self, kind: str) -> int:
        """How many records of `kind` there are."""
        return len(self._lines.get(kind, ()))

    def read(self, kind: str, start: int = 0, stop: int | None = None) -> list[dict[str, Any]]:
        """The records of `kind` from `start` to before `stop` (None: the last), as new objects."""
        with self._lock:
            lines = self._lines.get(kind, [])[start:stop]
        try:
            return [parse_record(line) for line in lines]
        except BadEntry as error:
            raise CorruptObject(f"{self.uri}: {error} (of kind {kind!r})") from None

    def forget(self, kind: str, stop: int) -> None:
        """Free the memory of the records of `kind` before `stop`, which are not read again here."""
        with self._lock:
            lines = self._lines.get(kind, [])
            for index in range(min(stop, len(lines)) - 1, -1, -1):
                if not lines[index]:
                    break  # and so is what is before
                lines[index] = b""

    def refresh(self) -> int:
        """Read the entries that were appended since; how many. Nothing new costs one request."""
        with self._lock:
            before = self._next
            hole, num_looks = -1, 0
            while self._read_more():
                num_looks = num_looks + 1 if self._next == hole else 1
                hole = self._next
                if num_looks == NUM_READS:
                    raise CorruptObject(
                        f"{self.uri} lacks entry {self._next}, and later ones are there: somebody "
                        f"removed {self._entry_key(self._next)}; a journal's objects must stay"
                    )
                self._read_segments()  # which may have it
            return self._next - before

    def _read_more(self) -> bool:
        """Read what the store lists; whether it has to be looked at again, because of a hole."""
        many = 2 * self._sizes.smallest
        numbers = self._list_numbers(many)
        if len(numbers) == many:
            self._read_segments()
            numbers = self._list_numbers(None)
        # A folder's listing is no snapshot: it may show an entry and not the one before it.
        whole = [number for due, number in enumerate(numbers, self._next) if number == due]
        self._accept_all((self._entry_key(number), Segment(number, number)) for number in whole)
        return len(whole) < len(numbers)

    def _list_numbers(self, most: int | None) -> list[int]:
        after = self._entry_key(self._next - 1) if self._next else ""
        listed = self._store.list(self._prefix + ENTRIES, after=after)
        names = (info.key.rpartition("/")[2] for info in itertools.islice(listed, most))
        return [int(name[:12]) for name in names if name[:12].isdecimal() and name[12:] == ".jsonl"]

    def _list_segments(self) -> set[Segment]:
        listed = self._store.list(self._prefix + SEGMENTS)
        found = (parse_segment(info.key.rpartition("/")[2]) for info in listed)
        return {segment for segment in found if segment is not None}

    def _read_segments(self) -> None:
        for attempt in itertools.count(1):
            chosen = cover(self._list_segments(), self._next)
            try:
                self._accept_all((self._segment_key(segment), segment) for segment in chosen)
                return
            except ObjectMissing:  # merged into a larger one since it was listed
                if attempt == NUM_READS:
                    raise

    def _accept_all(self, objects: Iterable[tuple[str, Segment]]) -> None:
        wanted = list(objects)
        with ThreadPoolExecutor(NUM_READERS) as pool:  # starts a thread for each read at most
            for entries in pool.map(lambda item: self._entries_of(*item), wanted):
                for entry in entries:
                    if entry.number == self._next:
                        self._accept(entry, is_alone=len(entries) == 1)

    def _entries_of(self, key: str, segment: Segment) -> list[Entry]:
        problem: BadEntry | None = None
        for _ in range(NUM_READS):
            try:
                return parse_entries(read_all(self._store, key), segment.first, segment.last)
            except BadEntry as error:
                problem = error
        remedy = (
            "; delete it: it is a copy of entries, and the journal is whole without it"
            if key.startswith(self._prefix + SEGMENTS)
            else ""
        )
        raise CorruptObject(
            f"{self._store.uri}/{key} does not belong to a journal: {problem}{remedy}"
        )

    def _accept(self, entry: Entry, *, is_alone: bool) -> None:
        """Take in entry `self._next`, which came in an object of its own or in a segment."""
        if OPENED in entry.kinds:
            self._openings.append(self._opening(entry))
        if not self._openings or entry.writer != self._openings[-1].writer:
            raise CorruptObject(
                f"{self.uri}: entry {entry.number} is of a writer {entry.writer!r} who had not "
                "opened the journal, or not last"
            )
        self._next += 1
        self._remember(entry.kinds, entry.lines)

    def _opening(self, entry: Entry) -> Opening:
        try:
            record = parse_record(entry.lines[0])
            return Opening(
                epoch=int(record["epoch"]),
                incarnation=int(record["incarnation"]),
                holder=str(record["holder"]),
                writer=entry.writer,
                at=float(record["at"]),
            )
        except (BadEntry, KeyError, TypeError, ValueError) as error:
            raise CorruptObject(
                f"{self.uri}: entry {entry.number} opens the journal without saying by whom "
                f"({error})"
            ) from None

    def _remember(self, kinds: Sequence[str], lines: Sequence[bytes]) -> None:
        for kind, line in zip(kinds, lines, strict=True):
            self._lines.setdefault(kind, []).append(line)

    def _entry_key(self, number: int) -> str:
        folder = f"{number // ENTRIES_PER_FOLDER:09d}"
        return f"{self._prefix}{ENTRIES}{folder}/{number:012d}.jsonl"

    def _segment_key(self, segment: Segment) -> str:
        return f"{self._prefix}{SEGMENTS}{segment.name}"
