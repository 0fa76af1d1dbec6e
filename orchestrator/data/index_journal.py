"""The journal of an index run, one JSON line per video, from which a killed run resumes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from types import TracebackType

from prp_core.data.file_lock import try_lock
from prp_core.data.loader_config import LoaderConfig
from prp_core.data.manifest import VideoRecord
from prp_core.documents import parse_json, record_from
from prp_core.errors import UserError

# Reasons that may lie with the machine or the store: the next run tries these videos again.
TRIED_AGAIN = {
    "too-slow",
    "out-of-memory",
    "crashed",
    "missing",
    "changed",
    "corrupt",
    "unreadable",
}
# Which videos are found usable: raise it when a fault is no longer one, so that what was set aside
# for it is tried again.
VERDICTS = 4


class IndexJournal:
    """The records found at `uri` under these decoder limits, in a file of `folder`.

    A context manager that one run at a time holds. Other limits have another journal, because they
    may find other videos broken.
    """

    def __init__(self, folder: Path, uri: str, loader: LoaderConfig) -> None:
        limits = (
            loader.reader,
            loader.decode_timeout_seconds,
            loader.decode_memory_bytes,
            loader.max_pixels,
            loader.max_pixels_decoded,
        )
        name = hashlib.sha256(json.dumps([uri, *limits]).encode()).hexdigest()[:16]
        self.path = folder / f"{name}.jsonl"
        self._uri = uri

    def __enter__(self) -> IndexJournal:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("a+b")
        if not try_lock(self._file):
            self._file.close()
            raise UserError(
                f"{self._uri} is being indexed by another process (it holds {self.path}); "
                "wait for it or end it"
            )
        self._known = self._read()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    @property
    def known(self) -> dict[str, VideoRecord]:
        """The newest record of each key, without those that should be tried again."""
        return {
            key: record for key, record in self._known.items() if record.reason not in TRIED_AGAIN
        }

    def add(self, record: VideoRecord) -> None:
        """Append `record`; it survives the death of this process at once."""
        self._known[record.key] = record
        line = {**dataclasses.asdict(record), "verdicts": VERDICTS}
        self._file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        self._file.flush()

    def _read(self) -> dict[str, VideoRecord]:
        self._file.seek(0)
        known: dict[str, VideoRecord] = {}
        whole_bytes = 0
        for line in self._file:
            parsed = _parse(line)
            if parsed is None:
                break  # torn by a kill: it and whatever follows is found again
            record, verdicts = parsed
            if record.reason and verdicts != VERDICTS:
                known.pop(record.key, None)
            else:
                known[record.key] = record
            whole_bytes += len(line)
        self._file.truncate(whole_bytes)
        return known


def _parse(line: bytes) -> tuple[VideoRecord, object] | None:
    """The record of a line, and by which verdicts it was found (before there was a number: 1)."""
    if not line.endswith(b"\n"):
        return None
    try:
        document = parse_json(line)
        verdicts = document.pop("verdicts", 1) if isinstance(document, dict) else 1
        return record_from(VideoRecord, document), verdicts
    except ValueError:
        return None
