"""A store whose process dies by kill -9 at one of its requests, before or after it is applied."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from prp_core.data.object_store import ObjectInfo, ObjectStore


@dataclass
class DyingStore:
    """`inner`, with the end of this process at request number `dies_at` (from 1; 0: never)."""

    inner: ObjectStore
    dies_at: int = 0
    after: bool = False

    def __post_init__(self) -> None:
        self._numbers = itertools.count(1)
        self.num_requests = 0
        self.kinds: list[str] = []

    @property
    def uri(self) -> str:
        return self.inner.uri

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[ObjectInfo]:
        number = self._begin("list", prefix)
        listed = list(self.inner.list(prefix, after=after))
        self._end(number)
        return iter(listed)

    def read(
        self, key: str, *, start: int = 0, num_bytes: int | None = None, etag: str | None = None
    ) -> Iterator[bytes]:
        number = self._begin("read", key)
        pieces = list(self.inner.read(key, start=start, num_bytes=num_bytes, etag=etag))
        self._end(number)
        return iter(pieces)

    def write(
        self,
        key: str,
        data: bytes | Path,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> ObjectInfo:
        number = self._begin("write", key)
        info = self.inner.write(key, data, if_absent=if_absent, if_match=if_match)
        self._end(number)
        return info

    def delete(self, key: str) -> None:
        number = self._begin("delete", key)
        self.inner.delete(key)
        self._end(number)

    def _begin(self, verb: str, key: str) -> int:
        number = next(self._numbers)  # some requests are made at a time, by several threads
        self.kinds.append(f"{verb} {'/'.join(key.split('/')[1:-1])}")
        self.num_requests = max(self.num_requests, number)
        if not self.after:
            self._maybe_die(number)
        return number

    def _end(self, number: int) -> None:
        if self.after:
            self._maybe_die(number)

    def _maybe_die(self, number: int) -> None:
        if number == self.dies_at:
            os.kill(os.getpid(), signal.SIGKILL)


def ends_of_each_kind(kinds: list[str]) -> list[int]:
    """The numbers, from 1, of the first and of the last request of each kind in `kinds`."""
    numbers: dict[str, list[int]] = {}
    for number, kind in enumerate(kinds, start=1):
        numbers.setdefault(kind, []).append(number)
    return sorted({number for of_kind in numbers.values() for number in (of_kind[0], of_kind[-1])})
