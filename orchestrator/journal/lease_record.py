"""What a lease's object says: who holds it, under which epoch, since when; JSON."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass

from orchestrator.journal.process_identity import ProcessIdentity
from prp_core.data.object_store import ObjectStore, read_all
from prp_core.documents import parse_json, record_from
from prp_core.errors import ObjectChanged, ObjectMissing, UserError

NUM_LOOKS = 100
MOST_SECONDS = 1e11  # some 3,000 years, beyond which no calendar goes


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
        record = record_from(LeaseRecord, parse_json(data))
        if not 0 <= record.since < MOST_SECONDS or record.epoch < 1 or record.process.pid < 1:
            words = f"epoch {record.epoch}, process {record.process.pid}, since {record.since!r}"
            raise ValueError(words)
        return record
    except ValueError as error:
        raise UserError(
            f"{what} is not a lease ({type(error).__name__}: {str(error)[:80]}); when no driver of "
            "this sweep runs, delete it"
        ) from None
