"""What a sweep keeps in its storage, under which names; all of it, so that nothing else is needed.

Below ``sweeps/ID/`` of a ``--storage``, a bucket's prefix or a folder alike:

| name | what |
|---|---|
| ``spec.json`` | what the sweep is: its study, space, config and options; changed by its driver |
| ``lease.json`` | which driver it has (`lease.py`) |
| ``journal/`` | the Optuna study, ledger, notes and answers (`object_journal.py`) |
| ``records/`` | what MLflow is told of it, and how far that is sent (`orchestrator/tracking`) |
| ``artifacts/`` | the texts that MLflow is told of |
| ``requests/`` | what people asked of it and the coordinator has not answered yet (`requests.py`) |
| ``trials/NNNN/`` | the checkpoints of a trial |
| ``encoder/`` | the winner's encoder |
| ``report.html`` | the report |
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.config.store_config import StoreConfig
from orchestrator.storage.open_store import open_store
from prp_core.data.object_store import LocalStore, ObjectStore, read_all
from prp_core.documents import parse_json
from prp_core.errors import ObjectChanged, ObjectMissing, UserError

SWEEPS = "sweeps/"
SPEC = "spec.json"
LEASE = "lease.json"
JOURNAL = "journal/"
RECORDS = "records/"
ARTIFACTS = "artifacts/"
REQUESTS = "requests/"
TRIALS = "trials/"
ENCODER = "encoder/"
REPORT = "report.html"

SWEEP_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
AFTER_SLASH = chr(ord("/") + 1)  # what sorts behind every key of a folder
NUM_NAMED = 10  # of other sweeps, in an error


def encoder_key(number: int) -> str:
    """The folder, below the sweep's, with the encoder of trial `number`; `load_encoder` reads it
    without MLflow.
    """
    return f"{ENCODER}{number:04d}"


@dataclass(frozen=True)
class StoredSpec:
    """A sweep's spec as it was read, and the etag that it had."""

    values: dict[str, Any]
    etag: str


class SweepFolder:
    """The folder of sweep `sweep_id`; `store` holds what lies below it."""

    def __init__(self, store: ObjectStore, sweep_id: str) -> None:
        self.store = store
        self.sweep_id = sweep_id

    @property
    def uri(self) -> str:
        """Where the sweep lies; what a person gives to go on with it from another machine."""
        return self.store.uri

    def trial_uri(self, number: int) -> str:
        """Where the checkpoints of trial `number` lie."""
        return f"{self.uri}/{TRIALS}{number:04d}"

    def create_spec(self, values: Mapping[str, Any]) -> StoredSpec:
        """Keep the spec of a new sweep. Raises `ObjectExists` when there is a sweep of this name,
        made a moment ago by another driver or long ago.
        """
        if isinstance(self.store, LocalStore):
            self.store.root.parent.mkdir(parents=True, exist_ok=True)
            self.store.root.mkdir(mode=0o700, exist_ok=True)
            self.store.root.chmod(0o700)  # of an earlier release, with checkpoints alone in it
        return self._write_spec(values, if_absent=True)

    def change_spec(self, seen: StoredSpec, values: Mapping[str, Any]) -> StoredSpec:
        """Replace the spec that was `seen`. Raises `ObjectChanged` when it is another by now."""
        return self._write_spec(values, if_match=seen.etag)

    def read_spec(self) -> StoredSpec | None:
        """The spec; None where there is no such sweep. Raises `UserError` when it cannot be
        read.
        """
        while True:
            etag = next((info.etag for info in self.store.list(SPEC) if info.key == SPEC), None)
            if etag is None:
                return None
            try:
                data = read_all(self.store, SPEC, etag=etag)
            except (ObjectChanged, ObjectMissing):
                continue  # changed between the two requests
            return StoredSpec(_parse(data, f"{self.uri}/{SPEC}"), etag)

    def _write_spec(
        self, values: Mapping[str, Any], *, if_absent: bool = False, if_match: str | None = None
    ) -> StoredSpec:
        data = json.dumps(values, indent=1, sort_keys=True).encode() + b"\n"
        info = self.store.write(SPEC, data, if_absent=if_absent, if_match=if_match)
        return StoredSpec(json.loads(data), info.etag)


def open_sweep_folder(
    storage: str | Path, sweep_id: str, config: StoreConfig | None = None, *, check: bool = True
) -> SweepFolder:
    """The folder of sweep `sweep_id` in `storage`, whether there is such a sweep or not; nothing is
    written. `check` as in `open_store`.

    In a local folder only this user can read what a sweep keeps. Raises `UserError` for a name that
    is none, and for a storage that cannot be opened.
    """
    if not SWEEP_ID.fullmatch(sweep_id):
        raise UserError(
            f"{sweep_id!r} names no sweep: a name has at most 200 letters, digits, '.', '_' and "
            "'-', and begins with a letter or a digit"
        )
    store = open_store(f"{str(storage).rstrip('/')}/{SWEEPS}{sweep_id}", config, check=check)
    if isinstance(store, LocalStore):
        store = LocalStore(store.root, is_private=True)
    return SweepFolder(store, sweep_id)


def find_sweep(
    storage: str | Path, sweep_id: str, config: StoreConfig | None = None
) -> tuple[SweepFolder, StoredSpec]:
    """The folder and the spec of a sweep that is in `storage`. Raises `UserError`, which names
    those that are, when it is not.
    """
    folder = open_sweep_folder(storage, sweep_id, config)
    spec = folder.read_spec()
    if spec is not None:
        return folder, spec
    names = list_sweeps(storage, config)
    alike = difflib.get_close_matches(sweep_id, names, n=NUM_NAMED) or names[-NUM_NAMED:]
    known = f"it has {', '.join(alike)}" if names else "it has none"
    more = f" and {len(names) - len(alike)} more" if len(names) > len(alike) else ""
    raise UserError(f"There is no sweep {sweep_id!r} in {storage}; {known}{more}")


def list_sweeps(storage: str | Path, config: StoreConfig | None = None) -> list[str]:
    """The names of the sweeps in `storage`, sorted; two requests for each."""
    store = open_store(storage, config)
    names = []
    after = ""
    while (info := next(iter(store.list(SWEEPS, after=after)), None)) is not None:
        sweep_id = info.key.removeprefix(SWEEPS).partition("/")[0]
        spec_key = f"{SWEEPS}{sweep_id}/{SPEC}"
        if any(found.key == spec_key for found in store.list(spec_key)):
            names.append(sweep_id)
        after = f"{SWEEPS}{sweep_id}{AFTER_SLASH}"
    return sorted(names)


def _parse(data: bytes, what: str) -> dict[str, Any]:
    try:
        values = parse_json(data)
    except ValueError as error:
        raise UserError(
            f"{what} is not a sweep's spec ({type(error).__name__}: {str(error)[:80]})"
        ) from None
    if not isinstance(values, dict):
        raise UserError(f"{what} is not a sweep's spec: it holds {str(values)[:60]}")
    return values
