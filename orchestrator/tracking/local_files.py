"""Files of tracking on this machine: the sqlite database of a URI, and locks between processes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from prp_core.data.file_lock import lock_file

SQLITE = "sqlite:///"


def sqlite_file(tracking_uri: str) -> Path | None:
    """The database file of a sqlite URI; None for the URI of a server."""
    if not tracking_uri.startswith(SQLITE):
        return None
    return Path(tracking_uri.removeprefix(SQLITE).split("?")[0]).resolve()


@contextlib.contextmanager
def locked_file(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on the file `path`, which is created; a crash releases it."""
    with path.open("w") as file:
        lock_file(file)
        yield
