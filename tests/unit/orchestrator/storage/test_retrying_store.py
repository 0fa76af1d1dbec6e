"""The back-off as a table, and retries of a store that fails on a script, on a scripted clock."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.storage.remote_store import TransientStoreError
from orchestrator.storage.retrying_store import RetryingStore, seconds_to_wait
from prp_core.data.object_store import ObjectInfo, read_all
from prp_core.errors import ObjectChanged, ObjectExists, StoreUnavailable, UserError

CONTENT = bytes(range(200))


class Clock:
    """Time as a test tells it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.naps: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds


class ScriptedStore:
    """A store whose calls take the next entry of a script.

    None works, a number breaks off after so many items, an error is raised. There is one object
    per letter.
    """

    def __init__(self, *script: int | Exception | None) -> None:
        self.script = list(script)
        self.calls = list[str]()
        self.etag = "v1"
        self.written: dict[str, bytes] = {}

    uri = "script://"

    def _next(self, call: str) -> int | None:
        self.calls.append(call)
        step = self.script.pop(0) if self.script else None
        if isinstance(step, Exception):
            raise step
        return step

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[ObjectInfo]:
        breaks_after = self._next(f"list after {after!r}")
        for number, key in enumerate(
            letter for letter in "abcdef" if letter > after and letter.startswith(prefix)
        ):
            if number == breaks_after:
                raise TransientStoreError("broke")
            yield ObjectInfo(key, len(self.written.get(key, CONTENT)), self.etag)

    def read(
        self,
        key: str,
        *,
        start: int = 0,
        num_bytes: int | None = None,
        etag: str | None = None,
        num_failures: int = 0,
    ) -> Iterator[bytes]:
        content = self.written.get(key, CONTENT)
        end = len(content) if num_bytes is None else start + num_bytes
        breaks_after = self._next(f"read {start}-{end} of {etag} after {num_failures}")
        served_etag = self.etag
        if etag not in (None, served_etag):
            raise ObjectChanged(key)
        for number, position in enumerate(range(start, end, 10)):
            if number == breaks_after:
                raise TransientStoreError("broke", etag=served_etag)
            yield content[position : min(position + 10, end)]

    def write(
        self,
        key: str,
        data: bytes | Path,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> ObjectInfo:
        assert isinstance(data, bytes)
        step = self.script.pop(0) if self.script else None
        self.calls.append("write")
        if isinstance(step, Exception) and "answer lost" not in str(step):
            raise step
        if if_absent and key in self.written:
            raise ObjectExists(key)
        if if_match is not None and if_match != f"v{len(self.written.get(key, b''))}":
            raise ObjectChanged(key)
        self.written[key] = data
        if isinstance(step, Exception):
            raise step
        return ObjectInfo(key, len(data), self.etag)

    def delete(self, key: str) -> None:
        self._next("delete")


def retrying(
    store: ScriptedStore,
    clock: Clock | None = None,
    deadline_seconds: float = 60.0,
    jitter: float = 0.5,
) -> RetryingStore:
    clock = clock or Clock()
    return RetryingStore(
        store, deadline_seconds, clock=clock, sleep=clock.sleep, jitter=lambda: jitter
    )


@pytest.mark.parametrize(
    ("cause", "num_failures", "elapsed", "jitter", "expected"),
    [
        ("network", 1, 0.0, 1.0, 0.05),
        ("throttled", 1, 0.0, 1.0, 0.2),
        ("throttled", 1, 0.0, 0.0, 0.0),
        ("network", 3, 0.0, 0.5, 0.1),
        ("throttled", 3, 0.0, 0.5, 0.4),
        ("network", 20, 0.0, 1.0, 20.0),
        ("throttled", 20, 0.0, 1.0, 20.0),
        ("throttled", 1, 59.9, 1.0, None),
        ("throttled", 1, 59.9, 0.1, 0.02),
        ("network", 1, 61.0, 0.0, None),
    ],
)
def test_the_wait_before_the_next_attempt(
    cause: str, num_failures: int, elapsed: float, jitter: float, expected: float | None
) -> None:
    assert seconds_to_wait(cause, num_failures, elapsed, 60.0, jitter) == (
        None if expected is None else pytest.approx(expected)
    )


def test_a_broken_body_goes_on_where_it_broke_if_the_object_is_the_same() -> None:
    inner, clock = ScriptedStore(TransientStoreError("busy", "throttled"), 3, 0, 4), Clock()
    store = retrying(inner, clock)
    assert read_all(store, "a") == CONTENT
    calls = ["read 0-200 of None after 0", "read 0-200 of None after 1"]
    assert inner.calls == [
        *calls,
        "read 30-200 of v1 after 1",
        "read 30-200 of v1 after 2",
        "read 70-200 of v1 after 1",
    ]
    assert clock.naps == pytest.approx([0.1, 0.025, 0.05, 0.025]), (
        "bytes that arrive end a row of failures"
    )
    counters = store.counters
    assert counters.pop("wait_seconds") == pytest.approx(0.2)
    by_cause = {"retries_throttled": 1, "retries_network": 3, "retries_credentials": 0}
    assert counters == {"requests": 5, "bytes": len(CONTENT), "retries": 4, **by_cause}


def test_a_body_is_never_put_together_from_two_versions() -> None:
    inner = ScriptedStore(3)
    pieces = retrying(inner).read("a")
    assert next(pieces) == CONTENT[:10]
    inner.etag = "v2"
    with pytest.raises(ObjectChanged):
        list(pieces)


def test_a_listing_goes_on_after_the_last_key() -> None:
    inner = ScriptedStore(2, 0, 3)
    assert [info.key for info in retrying(inner).list()] == list("abcdef")
    assert inner.calls == ["list after ''", "list after 'b'", "list after 'b'", "list after 'e'"]


def test_it_gives_up_at_the_deadline() -> None:
    inner, clock = ScriptedStore(*[TransientStoreError("script://a: silence")] * 100), Clock()
    with pytest.raises(
        StoreUnavailable, match=r"script://a: silence; gave up after 14 attempts in 60 s"
    ):
        read_all(retrying(inner, clock), "a")
    assert 30 < clock.now <= 60


def test_a_slow_reader_is_no_slow_store() -> None:
    clock = Clock()
    content = b""
    for piece in retrying(ScriptedStore(5, 5, 5), clock).read("a"):
        content += piece
        clock.now += 1000
    assert content == CONTENT


def test_what_will_not_pass_is_raised_at_once() -> None:
    clock = Clock()
    for error in (UserError("no bucket"), ObjectChanged("a")):
        with pytest.raises(type(error), match=str(error)):
            read_all(retrying(ScriptedStore(error), clock), "a")
    assert clock.naps == []


def test_expired_credentials_get_a_shorter_deadline_and_a_remedy() -> None:
    inner, clock = (
        ScriptedStore(
            *[TransientStoreError("script://a: the credentials have expired", "credentials")] * 100
        ),
        Clock(),
    )
    with pytest.raises(UserError, match="expired; renew them"):
        retrying(inner, clock).delete("a")
    assert clock.now <= 30


def test_a_conditional_write_whose_answer_was_lost() -> None:
    inner = ScriptedStore(TransientStoreError("answer lost"))
    assert retrying(inner).write("a", b"ours", if_absent=True) == ObjectInfo("a", 4, "v1")
    inner = ScriptedStore(TransientStoreError("never arrived"))
    inner.written["a"] = b"then"
    with pytest.raises(ObjectExists):
        retrying(inner).write("a", b"ours", if_absent=True)
    inner = ScriptedStore()
    inner.written["a"] = b"ours"
    with pytest.raises(ObjectExists):
        retrying(inner).write("a", b"ours", if_absent=True)


def test_what_crosses_a_process_arrives_whole() -> None:
    original = TransientStoreError("text", "throttled", "etag")
    error = pickle.loads(pickle.dumps(original))  # noqa: S301 - our own bytes
    assert (str(error), error.cause, error.etag) == ("text", "throttled", "etag")
