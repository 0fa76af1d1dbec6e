"""Counters of one tier of a node's cache, summed over its processes and kept on disk."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from prp_core.data.cache.space import write_beside
from prp_core.data.file_lock import lock_file
from prp_core.documents import parse_json_object

SAVE_EVERY_SECONDS = 5.0


class CacheCounters:
    """Thread-safe totals of this process by name, added to ``<root>/counters.json``.

    Saved every few seconds and by `save`. A process that is killed loses the counts of its last
    seconds; the file itself is never torn.
    """

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        self._root = root
        self._names = tuple(names)
        self._counts: Counter[str] = Counter()
        self._unsaved: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._saved_at = time.monotonic()

    @property
    def totals(self) -> dict[str, float]:
        """What this process has counted since it opened the cache."""
        with self._lock:
            return {name: float(self._counts[name]) for name in self._names}

    def add(self, **amounts: float) -> None:
        """Count `amounts` by name."""
        assert set(amounts) <= set(self._names), amounts
        with self._lock:
            # a Counter holds seconds as well
            self._counts.update(amounts)  # type: ignore[arg-type]
            self._unsaved.update(amounts)  # type: ignore[arg-type]
            due = time.monotonic() - self._saved_at > SAVE_EVERY_SECONDS
        if due:
            self.save()

    def save(self) -> None:
        """Add what is not yet saved to the node's sums."""
        with self._lock:
            unsaved = self._unsaved
            self._unsaved = Counter()
            self._saved_at = time.monotonic()
        if not unsaved or not self._root.is_dir():
            return
        with _locked(self._root / "locks" / "counters"):
            sums = Counter(node_counters(self._root))
            sums.update(unsaved)  # type: ignore[arg-type]
            write_beside(self._root / "counters.json", json.dumps(sums))


def node_counters(root: Path) -> dict[str, float]:
    """The sums over all processes that ever used the tier at `root`; empty where none has."""
    try:
        sums = parse_json_object((root / "counters.json").read_bytes())
        return {name: float(value) for name, value in sums.items()}
    except (FileNotFoundError, ValueError, TypeError):
        return {}


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    file_descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
    try:
        lock_file(file_descriptor)
        yield
    finally:
        os.close(file_descriptor)
