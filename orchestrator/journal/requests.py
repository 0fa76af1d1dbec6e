"""What people ask of a running sweep, from wherever its storage is reached, and what it answered.

A request is a small object that must be absent, so that anybody who can write to the storage can
make one; the coordinator looks for them every few seconds. Its answer is a record of the journal,
appended together with what the request changed (`JournalWriter.batch`): both are there or neither.
The object goes at a later look, so that a coordinator that dies in between finds it again.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from orchestrator.journal.journal_writer import JournalWriter
from orchestrator.journal.object_journal import JournalReader
from orchestrator.journal.sweep_folder import REQUESTS
from prp_core.data.object_store import ObjectStore
from prp_core.documents import parse_json_object, record_from
from prp_core.errors import ObjectMissing, UserError

ANSWER = "answer"
LARGEST_BYTES = 64 << 10
REQUEST_ID = re.compile(r"\d{20}-[0-9a-f]{16}")


class Action(StrEnum):
    """What a request asks for."""

    STOP = "stop"
    """End the trial `trial`, or the whole sweep where none is named, at the next step."""
    PAUSE = "pause"
    """Start no more trials until told to continue; those that run go on."""
    CONTINUE = "continue"
    """Start trials again."""
    TRY = "try"
    """Run a trial with `values`, by the name of their dimensions, before what the sampler draws."""
    EXTEND = "extend"
    """Train the trial `trial` on to `epochs` epochs."""


@dataclass(frozen=True)
class Request:
    """One request; `by` and `at` (seconds since 1970) are for people. Raises `UserError` for what
    is no request.
    """

    action: Action
    trial: int | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    epochs: int | None = None
    by: str = ""
    at: float = 0.0
    id: str = ""

    def __post_init__(self) -> None:
        known = ", ".join(Action)
        if self.action not in list(Action):
            raise UserError(f"Unknown request {str(self.action)[:60]!r}; known: {known}")
        object.__setattr__(self, "action", Action(self.action))
        _expect_count("trial", self.trial, 0)
        _expect_count("epochs", self.epochs, 1)
        takes_trial = self.action in (Action.STOP, Action.EXTEND)
        if self.trial is not None and not takes_trial:
            raise UserError(f"'{self.action}' takes no trial, and got {self.trial}")
        if not isinstance(self.values, Mapping) or bool(self.values) != (self.action == Action.TRY):
            raise UserError(f"'{Action.TRY}', and nothing else, takes values; got {self.values!r}")
        is_extending = self.action == Action.EXTEND
        if (self.epochs is not None) != is_extending or (is_extending and self.trial is None):
            raise UserError(f"'{Action.EXTEND}', and nothing else, takes a trial and its epochs")


@dataclass(frozen=True)
class BadRequest:
    """An object among the requests that is none, and why."""

    id: str
    problem: str


@dataclass(frozen=True)
class Answer:
    """What became of a request: whether it was done, what to say, and when (seconds since
    1970).
    """

    id: str
    is_done: bool
    text: str
    at: float


def submit(store: ObjectStore, request: Request, now: Callable[[], float] = time.time) -> Request:
    """Leave `request` in the folder of a sweep; what it is from now on, with its `id` and time."""
    at = now()
    sent = Request(
        request.action, request.trial, request.values, request.epochs, request.by, at, _new_id(at)
    )
    data = json.dumps(asdict(sent), indent=1).encode() + b"\n"
    if len(data) > LARGEST_BYTES:
        raise UserError(f"A request has at most {LARGEST_BYTES} bytes; this one has {len(data)}")
    store.write(f"{REQUESTS}{sent.id}.json", data, if_absent=True)
    return sent


def answers(journal: JournalReader, start: int = 0) -> list[Answer]:
    """The answers in `journal`, in their order, without the first `start`."""
    return [
        Answer(str(record["id"]), bool(record["is_done"]), str(record["text"]), float(record["at"]))
        for record in journal.read(ANSWER, start)
    ]


def num_unanswered(store: ObjectStore, journal: JournalReader) -> int:
    """How many requests wait in `store` for an answer in `journal`."""
    answered = {answer.id for answer in answers(journal)}
    keys = (info.key.removeprefix(REQUESTS).removesuffix(".json") for info in store.list(REQUESTS))
    return sum(key not in answered for key in keys)


def await_answer(
    journal: JournalReader,
    request: Request,
    *,
    timeout_seconds: float = 30.0,
    poll_seconds: float = 0.5,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Answer | None:
    """The answer to `request`, as soon as it is in `journal`; None: none came in time."""
    give_up_at = clock() + timeout_seconds
    num_read = 0
    while True:
        journal.refresh()
        new = answers(journal, num_read)
        num_read += len(new)
        for answer in new:
            if answer.id == request.id:
                return answer
        if clock() >= give_up_at:
            return None
        sleep(poll_seconds)


def parse_request(data: bytes, request_id: str) -> Request | BadRequest:
    """The request that an object called `request_id` holds, or why it holds none."""
    try:
        return record_from(Request, parse_json_object(data) | {"id": request_id})
    except ValueError as error:
        return BadRequest(request_id, f"it is not a request: {str(error)[:200]}")


class RequestDesk:
    """The coordinator's view of the requests in `store`, answered in `journal`."""

    def __init__(self, store: ObjectStore, journal: JournalWriter) -> None:
        self._store = store
        self._journal = journal
        self._answered = {answer.id for answer in answers(journal)}

    def waiting(self) -> Sequence[Request | BadRequest]:
        """The requests without an answer, the oldest first; one request to the store where there
        are none. Objects of requests whose answers are durable are removed.
        """
        found: list[Request | BadRequest] = []
        is_durable = self._journal.is_durable
        for info in list(self._store.list(REQUESTS)):
            request_id = info.key.removeprefix(REQUESTS).removesuffix(".json")
            if request_id not in self._answered:
                found += self._read(info.key, request_id, info.num_bytes)
            elif is_durable:
                self._store.delete(info.key)
        return found

    def answer(self, request: Request | BadRequest, *, is_done: bool, text: str, at: float) -> None:
        """Append the answer; within a batch, with whatever else is appended in it."""
        words = {} if isinstance(request, BadRequest) else {"request": asdict(request)}
        record = {"kind": ANSWER, "id": request.id, "is_done": is_done, "text": text, "at": at}
        self._journal.append([record | words])
        self._answered.add(request.id)

    def _read(self, key: str, request_id: str, num_bytes: int) -> list[Request | BadRequest]:
        if not REQUEST_ID.fullmatch(request_id):
            return [BadRequest(request_id, f"{key} is not the name of a request")]
        if num_bytes > LARGEST_BYTES:
            problem = f"it has {num_bytes} bytes; at most {LARGEST_BYTES} may be"
            return [BadRequest(request_id, problem)]
        try:
            data = b"".join(self._store.read(key, num_bytes=num_bytes))
        except ObjectMissing:
            return []  # taken back
        return [parse_request(data, request_id)]


def _new_id(at: float) -> str:
    return f"{int(at * 1e9):020d}-{secrets.token_hex(8)}"


def _expect_count(name: str, value: object, least: int) -> None:
    if value is not None and (type(value) is not int or value < least):
        raise UserError(f"{name} = {value!r}: must be a whole number of at least {least}")
