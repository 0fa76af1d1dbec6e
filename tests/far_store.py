"""A folder that stands for a store elsewhere: its objects are fetched, and each fetch is noted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from prp_core.data.object_store import LocalStore, ObjectInfo


class FarStore:
    """The objects of the folder `root`, never read in place; `fetched` holds the key of each
    read.
    """

    def __init__(self, root: Path) -> None:
        self._store = LocalStore(root)
        self.fetched = list[str]()

    @property
    def uri(self) -> str:
        return "far://" + self._store.uri

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[ObjectInfo]:
        return self._store.list(prefix, after=after)

    def read(
        self, key: str, *, start: int = 0, num_bytes: int | None = None, etag: str | None = None
    ) -> Iterator[bytes]:
        self.fetched.append(key)
        return self._store.read(key, start=start, num_bytes=num_bytes, etag=etag)

    def write(
        self,
        key: str,
        data: bytes | Path,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> ObjectInfo:
        return self._store.write(key, data, if_absent=if_absent, if_match=if_match)

    def delete(self, key: str) -> None:
        self._store.delete(key)


class JournalStore(FarStore):
    """Fetches are noted in a journal that processes share, and the first `spoil` pieces that this
    one reads are wrong.
    """

    def __init__(self, root: Path, journal: Path, spoil: int = 0) -> None:
        super().__init__(root)
        self._journal = journal
        self._spoil = spoil

    def read(
        self, key: str, *, start: int = 0, num_bytes: int | None = None, etag: str | None = None
    ) -> Iterator[bytes]:
        with self._journal.open("a") as journal:
            journal.write(f"{key}\n")
        for piece in super().read(key, start=start, num_bytes=num_bytes, etag=etag):
            self._spoil -= 1
            yield b"?" + piece[1:] if self._spoil >= 0 else piece
