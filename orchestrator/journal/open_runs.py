"""Notes in the home that say at which MLflow a process has runs outside a sweep.

They are made before the first run is, and removed when the last one is closed, so that whoever
looks knows where a process that was killed has left some, and need not ask MLflow where none has.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from orchestrator.config.sweep_spec import home_dir
from orchestrator.journal.process_identity import ProcessIdentity, this_process
from prp_core.data.object_store import LocalStore
from prp_core.documents import parse_json_object, record_from
from prp_core.errors import PrpError

NOTES = "open-runs"


@dataclass(frozen=True)
class Note:
    """A file in the home: `process` writes, or wrote, runs at `tracking_uri`."""

    path: Path
    tracking_uri: str
    process: ProcessIdentity

    def remove(self) -> None:
        """Forget it."""
        self.path.unlink(missing_ok=True)


def note_runs_at(tracking_uri: str) -> Note:
    """A note that this process writes runs at `tracking_uri`, kept before the first one is made.

    It is a help to who closes the runs, and nothing depends on it: a home that cannot be written to
    keeps none.
    """
    process = this_process()
    name = f"{process.pid}-{secrets.token_hex(4)}.json"
    note = Note(home_dir() / NOTES / name, tracking_uri, process)
    values = {"tracking_uri": tracking_uri, "process": asdict(process)}
    with contextlib.suppress(OSError, PrpError):
        LocalStore(note.path.parent).write(name, json.dumps(values).encode())
    return note


def read_notes() -> Iterator[Note]:
    """The notes in the home; one that cannot be read is left out."""
    for path in sorted((home_dir() / NOTES).glob("*.json")):
        try:
            values = parse_json_object(path.read_bytes())
            process = record_from(ProcessIdentity, values["process"])
            yield Note(path, str(values["tracking_uri"]), process)
        except (OSError, ValueError, KeyError):
            continue
