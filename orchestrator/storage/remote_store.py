"""The protocol of a store behind a network, and its error for a failure worth a retry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from prp_core.data.object_store import ObjectInfo
from prp_core.errors import StoreUnavailable


class TransientStoreError(StoreUnavailable):
    """One attempt failed in a way that a retry may cure.

    `cause` is ``"network"``, ``"throttled"`` or ``"credentials"``; `etag` is that of the object
    whose body broke off, where it is known.
    """

    def __init__(self, text: str, cause: str = "network", etag: str | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.cause = cause
        self.etag = etag

    def __reduce__(self) -> tuple[type[TransientStoreError], tuple[str, str, str | None]]:
        return (TransientStoreError, (self.text, self.cause, self.etag))


class RemoteStore(Protocol):
    """An `ObjectStore` without retries: each call makes one attempt.

    A failure that a retry may cure raises `TransientStoreError`; every other error is permanent.
    `list` can start after a key, so that a listing of many pages continues where it broke off. The
    read timeout of `read` grows with `num_failures`, the failures in a row before this attempt.
    """

    @property
    def uri(self) -> str: ...

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[ObjectInfo]: ...

    def read(
        self,
        key: str,
        *,
        start: int = 0,
        num_bytes: int | None = None,
        etag: str | None = None,
        num_failures: int = 0,
    ) -> Iterator[bytes]: ...

    def write(
        self,
        key: str,
        data: bytes | Path,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> ObjectInfo: ...

    def delete(self, key: str) -> None: ...
