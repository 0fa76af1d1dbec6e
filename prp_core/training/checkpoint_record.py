"""The record of a run's checkpoints: one object, which says what is committed and who may commit.

It names the newest attempt at the run and the checkpoints that count, in the order in which they
were committed. Each change is a conditional write over what the writer has seen, so an attempt that
was stopped and wakes up after a later one began changes nothing any more. A folder of an earlier
release has no record: there every commit counts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from prp_core.data.object_store import ObjectStore, read_all
from prp_core.documents import parse_json_object, record_from
from prp_core.errors import (
    CorruptObject,
    ObjectChanged,
    ObjectExists,
    ObjectMissing,
    PrpError,
)
from prp_core.training.checkpoint_keys import (
    STEP_PREFIX,
    RunAttempt,
    attempt_of,
    commit_key,
    is_commit,
    is_in_step_folder,
    step_of,
)

RECORD_NAME = "committed.json"


class Superseded(PrpError):
    """A later attempt at the run has begun: this one leaves."""


@dataclass(frozen=True)
class CommitRecord:
    """The newest `attempt`, and the keys of the `commits` that count, the newest last."""

    attempt: RunAttempt
    commits: tuple[str, ...]


class RecordFile:
    """The record of the checkpoints below `prefix`, as `attempt` reads and writes it."""

    def __init__(self, store: ObjectStore, prefix: str, attempt: RunAttempt) -> None:
        self._store = store
        self._prefix = prefix
        self._attempt = attempt
        self._key = f"{prefix}/{RECORD_NAME}"
        self._seen: CommitRecord | None = None
        self._etag: str | None = None

    def read(self) -> CommitRecord:
        """The record as it is now; of a folder that has none, or whose record is damaged, all
        commits that are there.
        """
        self._load()
        if self._seen is not None:
            return self._seen
        listed = (info.key for info in self._store.list(f"{self._prefix}/{STEP_PREFIX}"))
        keys = [key for key in listed if is_in_step_folder(self._prefix, key)]
        commits = sorted(
            filter(is_commit, keys), key=lambda key: (attempt_of(key), step_of(self._prefix, key))
        )
        newest = max(map(attempt_of, commits), default=RunAttempt())
        return CommitRecord(newest, tuple(commits))

    def begin(self) -> CommitRecord:
        """The record, in which this attempt is the newest from now on. Raises `Superseded` when
        there is a later one.
        """
        return self._change(lambda record: record.commits)

    def add(self, step: int, num_kept: int) -> CommitRecord:
        """The record with the checkpoint after `step` steps as the newest, and at most `num_kept`
        of them. Raises `Superseded` when a later attempt has begun.

        Checkpoints of later steps no longer count: a resume that came back to this step has not
        used them.
        """
        key = commit_key(self._prefix, step, self._attempt)

        def with_newest(record: CommitRecord) -> tuple[str, ...]:
            before = [one for one in record.commits if step_of(self._prefix, one) < step]
            return (*before, key)[-num_kept:]

        return self._change(with_newest)

    def _change(self, change: Callable[[CommitRecord], tuple[str, ...]]) -> CommitRecord:
        record = self._seen if self._seen is not None else self.read()
        while True:
            if record.attempt > self._attempt:
                raise Superseded(
                    f"{self._store.uri}/{self._prefix}: attempt {record.attempt.number} of epoch "
                    f"{record.attempt.epoch} has begun after {self._attempt.number} of "
                    f"{self._attempt.epoch}"
                )
            changed = CommitRecord(self._attempt, change(record))
            try:
                self._write(changed)
            except (ObjectChanged, ObjectExists):
                record = self.read()  # a later attempt's, or ours whose reply was lost
                if record != changed:
                    continue
            return changed

    def _write(self, record: CommitRecord) -> None:
        body = {
            "epoch": record.attempt.epoch,
            "attempt": record.attempt.number,
            "commits": list(record.commits),
        }
        data = json.dumps({"sha256": _digest_of(body), "record": body}, indent=1).encode()
        info = self._store.write(self._key, data, if_absent=self._etag is None, if_match=self._etag)
        self._seen = record
        self._etag = info.etag

    def _load(self) -> None:
        """Read the object and its etag; a damaged one has an etag and says nothing."""
        self._seen = None
        while True:
            self._etag = next(
                (info.etag for info in self._store.list(self._key) if info.key == self._key), None
            )
            if self._etag is None:
                return
            try:
                self._seen = _parse(read_all(self._store, self._key, etag=self._etag))
            except (ObjectChanged, ObjectMissing):
                continue  # changed between the two requests
            except CorruptObject:
                pass  # what counts is found by what is there
            return


def next_attempt(store: ObjectStore, prefix: str) -> RunAttempt:
    """The attempt after the newest one at the run below `prefix`, for a run that nobody counts the
    attempts of: who begins last commits.

    Raises `StoreUnavailable` when the store cannot say.
    """
    newest = RecordFile(store, prefix, RunAttempt()).read().attempt
    return RunAttempt(newest.epoch, newest.number + 1)


def newest_step(store: ObjectStore, prefix: str) -> int:
    """The step of the newest checkpoint that was committed below `prefix`; 0 without any.

    Raises `StoreUnavailable` when the store cannot say.
    """
    commits = RecordFile(store, prefix, RunAttempt()).read().commits
    return max((step_of(prefix, key) for key in commits), default=0)


def trained_epochs(store: ObjectStore, prefix: str) -> int | None:
    """The finished epochs of the newest checkpoint below `prefix` whose commit can be read; None
    without any. Raises `StoreUnavailable` when the store cannot say.
    """
    for key in reversed(RecordFile(store, prefix, RunAttempt()).read().commits):
        try:
            commit = parse_json_object(read_all(store, key))
            return int(commit["checkpoint"]["facts"]["num_epochs"])
        except (ObjectMissing, ObjectChanged, ValueError, KeyError, TypeError):
            continue  # damaged: a run falls back to the one before as well
    return None


def _parse(data: bytes) -> CommitRecord:
    try:
        document = parse_json_object(data)
        body = document["record"]
        if document["sha256"] != _digest_of(body):
            raise CorruptObject("the record was altered")
        attempt = record_from(RunAttempt, {"epoch": body["epoch"], "number": body["attempt"]})
        return CommitRecord(attempt, tuple(map(str, body["commits"])))
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptObject(f"the record is torn ({error})") from error


def _digest_of(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
