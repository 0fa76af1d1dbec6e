"""A store wrapper that retries transient failures, with exponential back-off and a deadline."""

from __future__ import annotations

import contextlib
import hashlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from orchestrator.storage.remote_store import RemoteStore, TransientStoreError
from prp_core.data.file_writing import CHUNK_BYTES
from prp_core.data.object_store import ObjectInfo
from prp_core.errors import (
    ObjectChanged,
    ObjectExists,
    ObjectMissing,
    StoreUnavailable,
    UserError,
)

FIRST_WAIT_SECONDS = 0.05  # after a lost connection, whose next attempt is most likely fine
FIRST_WAIT_THROTTLED_SECONDS = 0.2  # a store that throttles asks for rest
LONGEST_WAIT_SECONDS = 20.0
SLOWEST_BYTES_PER_SECOND = 1 << 18  # a slower body, retries included, exceeds the deadline
CREDENTIALS_SECONDS = 30.0  # time for whoever renews credentials to renew them


COUNTERS = (
    "requests",
    "bytes",
    "retries",
    "retries_throttled",
    "retries_network",
    "retries_credentials",
    "wait_seconds",
)
KEYS_PER_PAGE = 1000


def seconds_to_wait(
    cause: str, num_failures: int, elapsed_seconds: float, allowed_seconds: float, jitter: float
) -> float | None:
    """The pause before the next attempt, in seconds, after `num_failures` in a row; None: give up.

    Exponential back-off with full jitter: `jitter` (0 to 1) of a limit that doubles with each
    failure, as clients that wait equally long come back together. `cause` is that of the
    `TransientStoreError`.
    """
    first = FIRST_WAIT_THROTTLED_SECONDS if cause == "throttled" else FIRST_WAIT_SECONDS
    limit = min(LONGEST_WAIT_SECONDS, first * 2 ** min(num_failures - 1, 16))
    wait = jitter * limit
    return None if elapsed_seconds + wait > allowed_seconds else wait


class RetryingStore:
    """An `ObjectStore` that retries the transient failures of `store`.

    A body that breaks off is resumed there, on the condition that the object is still the same.
    Permanent errors are raised at once. When `deadline_seconds` are over, raises
    `StoreUnavailable`.
    """

    def __init__(
        self,
        store: RemoteStore,
        deadline_seconds: float = 120.0,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] | None = None,
    ) -> None:
        self._store = store
        self._deadline_seconds = deadline_seconds
        self._clock = clock
        self._sleep = sleep
        self._jitter = jitter or _jitter
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"RetryingStore({self._store!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {
            name: value for name, value in vars(self).items() if name not in ("_lock", "_counts")
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock(), _counts=Counter())

    @property
    def uri(self) -> str:
        """That of the wrapped store."""
        return self._store.uri

    @property
    def counters(self) -> dict[str, float]:
        """The requests of this process so far, by the names of `COUNTERS`.

        Requests include failed ones and each page of a listing; retries are given in total and by
        cause, with the seconds spent waiting before them.
        """
        with self._lock:
            return {name: float(self._counts[name]) for name in COUNTERS}

    def _count(self, **amounts: float) -> None:
        with self._lock:
            # a Counter holds seconds as well
            self._counts.update(amounts)  # type: ignore[arg-type]

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[ObjectInfo]:
        """See `ObjectStore.list`; a retry continues after the last key that arrived."""
        attempts = _Attempts(self)
        while True:
            self._count(requests=1)
            try:
                for number, info in enumerate(self._store.list(prefix, after=after)):
                    after = info.key
                    attempts.forget_failures()
                    self._count(requests=number > 0 and number % KEYS_PER_PAGE == 0)
                    with attempts.not_counted():
                        yield info
                return
            except TransientStoreError as error:
                attempts.wait_or_give_up(error)

    def read(
        self, key: str, *, start: int = 0, num_bytes: int | None = None, etag: str | None = None
    ) -> Iterator[bytes]:
        """See `ObjectStore.read`.

        Raises `ObjectChanged` also when the object changes before its body is resumed.
        """
        attempts = _Attempts(self)
        num_received = 0
        while True:
            left = None if num_bytes is None else num_bytes - num_received
            self._count(requests=1)
            try:
                begin = start + num_received
                num_failures = attempts.num_in_a_row
                for piece in self._store.read(
                    key, start=begin, num_bytes=left, etag=etag, num_failures=num_failures
                ):
                    num_received += len(piece)
                    self._count(bytes=len(piece))
                    attempts.num_in_a_row = 0
                    attempts.allow_more(len(piece) / SLOWEST_BYTES_PER_SECOND)
                    with attempts.not_counted():
                        yield piece
                return
            except TransientStoreError as error:
                etag = etag or (error.etag if num_received else None)
                attempts.wait_or_give_up(error)

    def write(
        self,
        key: str,
        data: bytes | Path,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> ObjectInfo:
        """See `ObjectStore.write`.

        After a lost reply to a conditional write, an equal object at the key counts as written by
        this call; a caller that must not confuse it with another's writes unique data.
        """
        attempts = _Attempts(self)
        num_bytes = len(data) if isinstance(data, bytes) else data.stat().st_size
        attempts.allow_more(num_bytes / SLOWEST_BYTES_PER_SECOND)
        while True:
            self._count(requests=1)
            try:
                return self._store.write(key, data, if_absent=if_absent, if_match=if_match)
            except (ObjectExists, ObjectChanged):
                found = self._equal_object(key, data, num_bytes) if attempts.num_failures else None
                if found is None:
                    raise
                return found
            except TransientStoreError as error:
                attempts.wait_or_give_up(error)

    def delete(self, key: str) -> None:
        """See `ObjectStore.delete`."""
        attempts = _Attempts(self)
        while True:
            self._count(requests=1)
            try:
                return self._store.delete(key)
            except TransientStoreError as error:
                attempts.wait_or_give_up(error)

    def _equal_object(self, key: str, data: bytes | Path, num_bytes: int) -> ObjectInfo | None:
        info = next((item for item in self.list(key) if item.key == key), None)
        if info is None or info.num_bytes != num_bytes:
            return None
        there = hashlib.sha256()
        try:
            for piece in self.read(key, etag=info.etag):
                there.update(piece)
        except (ObjectChanged, ObjectMissing):
            return None  # somebody has replaced it since
        return info if there.digest() == _sha256(data) else None


class _Attempts:
    """The failures of one call so far, and its remaining time."""

    def __init__(self, store: RetryingStore) -> None:
        self._store = store
        self._started = store._clock()
        self._extra_seconds = 0.0
        self.num_failures = 0
        self.num_in_a_row = 0  # without a byte between them: what the next wait depends on

    def allow_more(self, seconds: float) -> None:
        self._extra_seconds += seconds

    @contextlib.contextmanager
    def not_counted(self) -> Iterator[None]:
        """Leave the time that the caller takes out of the deadline."""
        started = self._store._clock()
        yield
        self.allow_more(self._store._clock() - started)

    def forget_failures(self) -> None:
        if self.num_failures:
            self.num_failures = self.num_in_a_row = 0
            self._started = self._store._clock()
            self._extra_seconds = 0.0

    def wait_or_give_up(self, error: TransientStoreError) -> None:
        """Sleep before the next attempt; raise when the deadline allows none."""
        store = self._store
        self.num_failures += 1
        self.num_in_a_row += 1
        expired = error.cause == "credentials"
        allowed = (
            min(store._deadline_seconds, CREDENTIALS_SECONDS)
            if expired
            else store._deadline_seconds
        ) + self._extra_seconds
        wait = seconds_to_wait(
            error.cause, self.num_in_a_row, store._clock() - self._started, allowed, store._jitter()
        )
        if wait is None and expired:
            raise UserError(
                f"{error.text}; renew them (aws sso login, a new AWS_SESSION_TOKEN) and start again"
            ) from error
        if wait is None:
            raise StoreUnavailable(
                f"{error.text}; gave up after {self.num_failures} attempts in {allowed:.0f} s"
            ) from error
        store._count(**{"retries": 1, f"retries_{error.cause}": 1, "wait_seconds": wait})
        store._sleep(wait)


def _jitter() -> float:
    return random.random()


def _sha256(data: bytes | Path) -> bytes:
    digest = hashlib.sha256()
    if isinstance(data, bytes):
        digest.update(data)
        return digest.digest()
    with data.open("rb") as file:
        while piece := file.read(CHUNK_BYTES):
            digest.update(piece)
    return digest.digest()
