"""The face that a store beyond a network wears, and the error by which it asks to be tried
again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from prp_core.data.object_store import ObjectInfo
from prp_core.errors import StoreUnavailable


class TryAgain(StoreUnavailable):
    """This one attempt failed; the same call may well succeed later.

    `cause` is ``"network"``, ``"throttled"`` or ``"credentials"``; `etag` is that of the object
    whose body broke, where it is known.
    """

    def __init__(self, text: str, cause: str = "network", etag: str | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.cause = cause
        self.etag = etag

    def __reduce__(self) -> tuple[type[TryAgain], tuple[str, str, str | None]]:
        return (TryAgain, (self.text, self.cause, self.etag))


class RemoteStore(Protocol):
    """An `ObjectStore` that makes each attempt once: what may pass raises `TryAgain`, everything
    else is for good.

    `list` can begin after a key, so that a listing of many pages goes on where it broke. A read
    that failed `num_failures` times in a row bears more silence than the first before it raises
    `TryAgain`.
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

    def write(self, key: str, data: bytes | Path, *, if_absent: bool = False) -> ObjectInfo: ...

    def delete(self, key: str) -> None: ...
