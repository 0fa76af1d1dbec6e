"""What a lease's object says: who holds it, under which epoch, since when; JSON."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.journal.process_identity import ProcessIdentity
from prp_core.data.object_store import ObjectStore, read_all
from prp_core.errors import ObjectChanged, ObjectMissing, UserError

NUM_LOOKS = 100


@dataclass(frozen=True)
class LeaseRecord:
    """One state of a lease. `token` is of one acquisition, `since` its time (seconds since 1970),
    `num_renewals` makes every renewal another content; a lease that was released is not held.
    """

    process: ProcessIdentity
    epoch: int
    token: str
    since: float
    num_renewals: int = 0
    is_held: bool = True

    @property
    def since_utc(self) -> str:
        """When it was acquired, for people."""
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.since))

    def to_bytes(self) -> bytes:
        """The record as it is stored."""
        return json.dumps(asdict(self), indent=1).encode() + b"\n"


@dataclass(frozen=True)
class SeenLease:
    """A lease as it was read, and the etag that it had."""

    record: LeaseRecord
    etag: str


def etag_of(store: ObjectStore, key: str) -> str | None:
    """The etag of the object `key`; None: there is none. One request."""
    return next((info.etag for info in store.list(key) if info.key == key), None)


def read_lease(store: ObjectStore, key: str) -> SeenLease | None:
    """The lease at `key`; None where there never was one. Raises `UserError` for something else."""
    for _ in range(NUM_LOOKS):
        etag = etag_of(store, key)
        if etag is None:
            return None
        try:
            data = read_all(store, key, etag=etag)
        except (ObjectChanged, ObjectMissing):
            continue  # its holder renewed it between the two requests
        return SeenLease(_parse(data, f"{store.uri}/{key}"), etag)
    raise UserError(f"{store.uri}/{key} changes faster than it can be read; what writes it?")


def _parse(data: bytes, what: str) -> LeaseRecord:
    try:
        values = json.loads(data)
        record = LeaseRecord(**values | {"process": ProcessIdentity(**values["process"])})
        _expect_types(record)
        return record
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UserError(
            f"{what} is no lease ({type(error).__name__}: {str(error)[:80]}); when no driver of "
            "this sweep runs, delete it"
        ) from None


def _expect_types(record: LeaseRecord) -> None:
    process = record.process
    expected: dict[type, list[Any]] = {
        int: [record.epoch, record.num_renewals, process.pid],
        str: [record.token, process.user, process.host, process.machine, process.started],
        bool: [record.is_held],
    }
    for kind, values in expected.items():
        for value in values:
            if type(value) is not kind:
                raise TypeError(f"{value!r} is no {kind.__name__}")
    if not isinstance(record.since, int | float) or record.epoch < 1 or process.pid < 1:
        raise ValueError(f"epoch {record.epoch}, process {process.pid}, since {record.since!r}")
