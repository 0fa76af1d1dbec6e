"""A durable queue on disk: records survive kill -9 and hours without the server.

Each writer has a file of JSON lines, locked until its process ends; the next writer in the same
folder takes over the files of ended ones. Records may be read again after a crash, so sending one
twice must be harmless.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from orchestrator.tracking.local_files import locked_file

_LOGGER = logging.getLogger(__name__)

READ_BYTES = 256 << 10
SUFFIX = ".spool.jsonl"


class Spool:
    """The records for one `destination`, first in, first out.

    Safe with any number of threads, one of which reads.
    """

    def __init__(
        self,
        folder: Path,
        destination: str,
        on_recovered: Callable[[Mapping[str, Any]], None] = lambda record: None,
    ) -> None:
        """Take over the records for `destination` that ended writers left in `folder`.

        `on_recovered` is called with each of them.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._lock = threading.Lock()
        self._num_appended = self._num_committed = self._num_read = 0
        header = json.dumps({"destination": destination}) + "\n"
        with locked_file(folder / "spool.lock"):
            dead = sorted(folder.glob(f"*{SUFFIX}"))
            self.path = folder / f"{time.time_ns()}-{os.getpid()}{SUFFIX}"
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._size = self._start = self._position = self._next = os.write(
                self._file, header.encode()
            )
            for path in dead:
                self._take_over(path, header, on_recovered)

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a record, which survives this process from then on. Raises `OSError` (disk full)."""
        line = json.dumps(record, allow_nan=False).encode() + b"\n"
        with self._lock:
            if os.write(self._file, line) != len(line):
                os.ftruncate(self._file, self._size)
                raise OSError(f"no space left for {self.path}")
            self._size += len(line)
            self._num_appended += 1

    def read(self) -> list[dict[str, Any]]:
        """The oldest records that are not committed; the same ones again until `commit`."""
        num_bytes = READ_BYTES
        while True:
            data = os.pread(self._file, min(num_bytes, self._size - self._position), self._position)
            whole = data[: data.rfind(b"\n") + 1]
            if whole or len(data) < num_bytes:
                break
            num_bytes *= 2
        self._next = self._position + len(whole)
        lines = whole.splitlines()
        self._num_read = len(lines)
        return [json.loads(line) for line in lines]

    def commit(self) -> None:
        """Mark the records of the last `read` as arrived; empty the file when all have."""
        with self._lock:
            self._position = self._next
            self._num_committed += self._num_read
            self._num_read = 0
            if self._position == self._size:
                os.ftruncate(self._file, self._start)
                self._size = self._position = self._next = self._start

    def reject(self, record: Mapping[str, Any], reason: str) -> None:
        """Keep a record that can never be sent in ``rejected.jsonl``, for a person to read."""
        line = json.dumps({"reason": reason, "record": record}) + "\n"
        with (self._folder / "rejected.jsonl").open("a") as file:
            file.write(line)

    @property
    def num_appended(self) -> int:
        """The number of records ever appended, those taken over included."""
        return self._num_appended

    @property
    def num_committed(self) -> int:
        """The number of records that have arrived."""
        return self._num_committed

    def close(self) -> None:
        """Release the file; records that are not committed stay for the next writer."""
        with self._lock:
            if self._position == self._size:
                self.path.unlink(missing_ok=True)
            os.close(self._file)

    def _take_over(
        self, path: Path, header: str, on_recovered: Callable[[Mapping[str, Any]], None]
    ) -> None:
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # its writer is running
            first = file.readline()
            if first.endswith(b"\n") and first.decode() != header:
                _LOGGER.warning(
                    "%s holds records for another place (%s); left alone",
                    path,
                    first.decode().strip(),
                )
                return
            for line in file:
                record = _parsed(line)
                if record is not None:
                    self.append(record)
                    on_recovered(record)
            path.unlink()


def _parsed(line: bytes) -> dict[str, Any] | None:
    """The record, or None for the torn last line of a writer that crashed within `append`."""
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
