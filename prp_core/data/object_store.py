"""The protocol of an object store, and the store that is a local folder.

Keys are relative to the store's `uri`, use ``/`` and never start with it. Other stores (S3, the
retrying wrapper) live in `orchestrator/storage/`. What an object holds never changes under one
etag; a read with an etag gets those bytes or an error.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from prp_core.errors import ObjectChanged, ObjectExists, ObjectMissing, StoreUnavailable, UserError

CHUNK_BYTES = 1 << 20
FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota is used up",
    errno.EFBIG: "the file is larger than may be written here",
}
FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
UNFINISHED_PREFIX = ".unfinished-"


@dataclass(frozen=True)
class ObjectInfo:
    """One object in a store's listing. `etag` carries no quotes."""

    key: str
    num_bytes: int
    etag: str


@dataclass(frozen=True)
class ObjectRef:
    """One object as a manifest names it; `sha256` (hex) is empty until it has been read."""

    key: str
    num_bytes: int
    etag: str
    sha256: str = ""


@runtime_checkable
class ObjectStore(Protocol):
    """Objects under one `uri`.

    Every method may raise `StoreError`; a permanent mistake of the user's raises `UserError`.
    """

    @property
    def uri(self) -> str:
        """The store's location, from which it can be opened again."""
        ...

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """The objects whose keys start with `prefix`, sorted by key."""
        ...

    def read(
        self, key: str, *, start: int = 0, num_bytes: int | None = None, etag: str | None = None
    ) -> Iterator[bytes]:
        """The object's bytes from `start`, all or `num_bytes` of them, in pieces.

        Raises `ObjectMissing`, `ObjectChanged` (it is no longer `etag`) or `StoreUnavailable`, at
        the call or between two pieces.
        """
        ...

    def write(self, key: str, data: bytes | Path, *, if_absent: bool = False) -> ObjectInfo:
        """Store `data` (bytes, or the content of a file) whole or not at all.

        Raises `ObjectExists` when `if_absent` and the object exists.
        """
        ...

    def delete(self, key: str) -> None:
        """Remove the object; no error when there is none."""
        ...


def read_all(store: ObjectStore, key: str, *, etag: str | None = None) -> bytes:
    """The whole object in memory; for small ones."""
    return b"".join(store.read(key, etag=etag))


class LocalStore:
    """A folder as an object store, with atomic writes.

    An etag is the file's modification time and size, in hex. The folder may be missing: then it
    holds no objects, and the first write makes it. Links that lead out of the folder, or to another
    folder, are listed (so that nobody wonders where they went) and raise `ObjectMissing` when read.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root).absolute()
        if self.root.exists() and not self.root.is_dir():
            raise UserError(
                f"{self.root} is a file, not a folder of objects; name the folder that holds it"
            )

    def __repr__(self) -> str:
        return f"LocalStore({str(self.root)!r})"

    @property
    def uri(self) -> str:
        """The folder as ``file:///...``."""
        return self.root.as_uri()

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """The files under the folder, sorted by key, without those that are still being written."""
        top = prefix.rpartition("/")[0]
        folder = self._path(top) if top else self.root
        return self._walk(folder, f"{top}/" if top else "", prefix)

    def _walk(self, folder: Path, above: str, prefix: str) -> Iterator[ObjectInfo]:
        try:
            entries = list_folder(folder)
        except (FileNotFoundError, NotADirectoryError):
            return
        for name, is_folder in entries:
            key = above + name
            if is_folder:
                if key.startswith(prefix) or prefix.startswith(f"{key}/"):
                    yield from self._walk(folder / name, f"{key}/", prefix)
            elif key.startswith(prefix) and not name.startswith(UNFINISHED_PREFIX):
                info = self._info(key, folder / name)
                if info is not None:
                    yield info

    def _info(self, key: str, path: Path) -> ObjectInfo | None:
        try:
            status = path.stat()
        except FileNotFoundError:
            if not path.is_symlink():
                return None  # deleted since the folder was listed
            status = path.lstat()
        return ObjectInfo(key, status.st_size, _etag(status))

    def read(
        self, key: str, *, start: int = 0, num_bytes: int | None = None, etag: str | None = None
    ) -> Iterator[bytes]:
        """See `ObjectStore.read`; the etag is compared before the first piece and at the end."""
        file_descriptor = os.open(self.local_path(key), os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._expect(key, os.fstat(file_descriptor), etag)
        except BaseException:
            os.close(file_descriptor)
            raise
        return self._pieces(key, file_descriptor, start, num_bytes, etag)

    def _pieces(
        self, key: str, file_descriptor: int, start: int, num_bytes: int | None, etag: str | None
    ) -> Iterator[bytes]:
        with os.fdopen(file_descriptor, "rb") as file:
            file.seek(start)
            left = num_bytes if num_bytes is not None else (1 << 62)
            while left > 0 and (piece := file.read(min(CHUNK_BYTES, left))):
                left -= len(piece)
                yield piece
            self._expect(key, os.fstat(file.fileno()), etag)

    def _expect(self, key: str, status: os.stat_result, etag: str | None) -> None:
        if etag is not None and _etag(status) != etag:
            raise ObjectChanged(
                f"{self.uri}/{key} is {_etag(status)}, no longer {etag}; index the folder again"
            )

    def write(self, key: str, data: bytes | Path, *, if_absent: bool = False) -> ObjectInfo:
        """See `ObjectStore.write`; written to a temporary name, then renamed.

        What was there stays when it fails. Raises `StoreUnavailable` when the disk is full,
        `UserError` when the folder may not be written to.
        """
        try:
            return self._write(key, data, if_absent)
        except OSError as error:
            if error.errno in FULL:
                raise StoreUnavailable(
                    f"{self.uri}/{key} was not written: {FULL[error.errno]} ({error}); "
                    "free space or name another place"
                ) from error
            if error.errno in FORBIDDEN:
                raise UserError(
                    f"{self.uri}/{key} may not be written ({error}); change the "
                    "folder's permissions or name another place"
                ) from error
            raise

    def _write(self, key: str, data: bytes | Path, if_absent: bool) -> ObjectInfo:
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.parent / f"{UNFINISHED_PREFIX}{secrets.token_hex(8)}"
        try:
            _write_file(unfinished, data)
            info = ObjectInfo(key, unfinished.stat().st_size, _etag(unfinished.stat()))
            if if_absent:
                os.link(unfinished, path)
            else:
                unfinished.replace(path)
        except FileExistsError:
            raise ObjectExists(f"{self.uri}/{key} is there already") from None
        finally:
            unfinished.unlink(missing_ok=True)
        return info

    def delete(self, key: str) -> None:
        """See `ObjectStore.delete`."""
        self._path(key).unlink(missing_ok=True)

    def local_path(self, key: str) -> Path:
        """The file itself, to be read in place. Raises `ObjectMissing`."""
        path = self._path(key)
        real = path.resolve()
        if not real.is_relative_to(self.root.resolve()):
            raise ObjectMissing(
                f"{self.uri}/{key} is a link that leaves the folder: {real}; links must "
                "stay inside it"
            )
        if not real.is_file():
            raise ObjectMissing(
                f"{self.uri}/{key}: "
                + ("no such file" if not real.exists() else "not a plain file")
            )
        return path

    def expect(self, ref: ObjectRef) -> Path:
        """The file of `ref`, unchanged since it was listed.

        Raises `ObjectMissing` or `ObjectChanged`.
        """
        path = self.local_path(ref.key)
        self._expect(ref.key, path.stat(), ref.etag)
        return path

    def _path(self, key: str) -> Path:
        parts = key.split("/")
        if "\0" in key or any(part in ("", ".", "..") for part in parts):
            raise UserError(
                f"{key!r} is no key of {self.uri}: keys are relative paths without '.', "
                "'..' or empty parts"
            )
        return self.root.joinpath(*parts)


def list_folder(folder: Path) -> list[tuple[str, bool]]:
    """``(name, is a folder)`` of the entries of `folder`, in the order of the keys below it.

    Links are not followed.
    """
    with os.scandir(folder) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    return sorted(found, key=lambda item: f"{item[0]}/" if item[1] else item[0])


def _etag(status: os.stat_result) -> str:
    return f"{status.st_mtime_ns:x}-{status.st_size:x}"


def _write_file(path: Path, data: bytes | Path) -> None:
    pieces = iter([data]) if isinstance(data, bytes) else _file_pieces(data)
    with path.open("xb") as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())


def _file_pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(CHUNK_BYTES):
            yield piece
