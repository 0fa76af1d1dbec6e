"""The protocol of an object store, and the store that is a local folder.

Keys are relative to the store's `uri`, use ``/`` and never start with it. Other stores (S3, the
retrying wrapper) live in `orchestrator/storage/`. What an object holds never changes under one
etag; a read with an etag gets those bytes or an error.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from prp_core.data.file_writing import CHUNK_BYTES, set_new_time, write_file
from prp_core.data.folder_lock import locked_folder, make_folder, sync_folder
from prp_core.errors import (
    ObjectChanged,
    ObjectExists,
    ObjectMissing,
    ObjectRefused,
    StoreUnavailable,
    UserError,
)

FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is exhausted",
    errno.EFBIG: "the file is larger than may be written here",
}
FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT}  # the last one in /proc
UNFINISHED_PREFIX = ".unfinished-"
ABANDONED_SECONDS = 86_400.0
LOCK_NAME = f"{UNFINISHED_PREFIX}lock"


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

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[ObjectInfo]:
        """The objects whose keys start with `prefix` and come after the key `after`, sorted by
        key.
        """
        ...

    def read(
        self, key: str, *, start: int = 0, num_bytes: int | None = None, etag: str | None = None
    ) -> Iterator[bytes]:
        """The object's bytes from `start`, all or `num_bytes` of them, in pieces.

        Raises `ObjectMissing`, `ObjectChanged` (it is no longer `etag`) or `StoreUnavailable`, at
        the call or between two pieces.
        """
        ...

    def write(
        self,
        key: str,
        data: bytes | Path,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> ObjectInfo:
        """Store `data` (bytes, or the content of a file) whole or not at all.

        A conditional write is atomic between processes and hosts: of several at a time one wins.
        With `if_absent` raises `ObjectExists` when the object is there; with `if_match` raises
        `ObjectChanged` when it is gone or its etag is another.
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
    So are files and folders that this user may not read: they raise `ObjectRefused`.
    """

    def __init__(self, root: Path | str, *, is_private: bool = False) -> None:
        """With `is_private`, this user alone can read what is written (0600, folders 0700)."""
        self.root = Path(root).absolute()
        self._is_private = is_private
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

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[ObjectInfo]:
        """The files under the folder, sorted by key, without those that are still being written."""
        top = prefix.rpartition("/")[0]
        folder = self._path(top) if top else self.root
        if not self._is_inside(folder):
            return iter(())
        return self._walk(folder, f"{top}/" if top else "", prefix, after)

    def _walk(self, folder: Path, above: str, prefix: str, after: str) -> Iterator[ObjectInfo]:
        try:
            entries = list_folder(folder)
        except (FileNotFoundError, NotADirectoryError):
            return
        except PermissionError as error:
            key = above[:-1]
            if not key or not key.startswith(prefix):
                raise self._refusal(key, error) from error  # what was asked for, not one entry
            if key > after:
                yield _unknown(key)
            return
        for name, is_folder in entries:
            key = above + name
            if is_folder:
                below = f"{key}/"
                is_listed = key.startswith(prefix) or prefix.startswith(below)
                if is_listed and (below > after or after.startswith(below)):
                    yield from self._walk(folder / name, below, prefix, after)
            elif name.startswith(UNFINISHED_PREFIX):
                if name != LOCK_NAME:
                    _remove_abandoned(folder / name)
            elif key.startswith(prefix) and key > after:
                info = self._info(key, folder / name)
                if info is not None:
                    yield info

    def _info(self, key: str, path: Path) -> ObjectInfo | None:
        try:
            status = path.stat()
        except PermissionError:
            return _unknown(key)
        except OSError as error:
            if not path.is_symlink():
                if isinstance(error, FileNotFoundError):
                    return None  # deleted since the folder was listed
                return _unknown(key)
            status = path.lstat()  # it leads nowhere, or in circles
        if stat.S_IFMT(status.st_mode) not in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
            return _unknown(key)  # a pipe, a socket, a device: none has a size
        return ObjectInfo(key, status.st_size, _etag(status))

    def read(
        self, key: str, *, start: int = 0, num_bytes: int | None = None, etag: str | None = None
    ) -> Iterator[bytes]:
        """See `ObjectStore.read`; the etag is compared before the first piece and at the end."""
        file_descriptor = self._open(key)
        try:
            self._expect(key, os.fstat(file_descriptor), etag)
        except BaseException:
            os.close(file_descriptor)
            raise
        return self._pieces(key, file_descriptor, start, num_bytes, etag)

    def _open(self, key: str) -> int:
        try:
            return os.open(self.local_path(key), os.O_RDONLY | os.O_CLOEXEC)
        except PermissionError as error:
            raise self._refusal(key, error) from error

    def _refusal(self, key: str, error: OSError) -> ObjectRefused:
        return ObjectRefused(
            f"{self.uri}/{key}".rstrip("/") + f" may not be read ({error.strerror}); "
            "change its permissions or those of its folder"
        )

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

    def write(
        self,
        key: str,
        data: bytes | Path,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> ObjectInfo:
        """See `ObjectStore.write`; written to a temporary name, then linked or renamed.

        What was there stays when it fails; what was written outlives a power failure. Raises
        `StoreUnavailable` when the disk is full, `UserError` when the folder may not be written to.
        """
        assert not (if_absent and if_match), "an object is absent or has an etag"
        try:
            return self._write(key, data, if_absent, if_match)
        except OSError as error:
            if error.errno in FULL:
                raise StoreUnavailable(
                    f"{self.uri}/{key} was not written: {FULL[error.errno]} ({error}); "
                    "free space or name another place"
                ) from error
            if error.errno in FORBIDDEN:
                raise UserError(
                    f"{self.uri}/{key} may not be written ({error}); "
                    "change the folder's permissions or name another place"
                ) from error
            raise

    def _write(
        self, key: str, data: bytes | Path, if_absent: bool, if_match: str | None
    ) -> ObjectInfo:
        path = self._path_to_change(key)
        make_folder(path.parent, 0o700 if self._is_private else 0o777)
        unfinished = path.parent / f"{UNFINISHED_PREFIX}{secrets.token_hex(8)}"
        try:
            write_file(unfinished, data, 0o600 if self._is_private else 0o666)
            if if_absent:
                info = self._link(key, unfinished, path)
            else:
                info = self._replace(key, unfinished, path, if_match)
        except FileExistsError:
            raise ObjectExists(f"{self.uri}/{key} is there already") from None
        finally:
            unfinished.unlink(missing_ok=True)
        sync_folder(path.parent)
        return info

    def _link(self, key: str, unfinished: Path, path: Path) -> ObjectInfo:
        set_new_time(unfinished, None)
        status = unfinished.stat()
        os.link(unfinished, path)  # has one winner without a lock
        return ObjectInfo(key, status.st_size, _etag(status))

    def _replace(self, key: str, unfinished: Path, path: Path, if_match: str | None) -> ObjectInfo:
        with locked_folder(path.parent, LOCK_NAME):
            try:
                there = path.stat()
            except FileNotFoundError:
                there = None
            if if_match is not None and (there is None or _etag(there) != if_match):
                found = "gone" if there is None else _etag(there)
                raise ObjectChanged(f"{self.uri}/{key} is {found}, no longer {if_match}")
            set_new_time(unfinished, there)
            status = unfinished.stat()
            unfinished.replace(path)
        return ObjectInfo(key, status.st_size, _etag(status))

    def delete(self, key: str) -> None:
        """See `ObjectStore.delete`."""
        path = self._path_to_change(key)
        # Between the look and the rename of a write with `if_match`, nothing may go.
        with (
            contextlib.suppress(FileNotFoundError, NotADirectoryError),
            locked_folder(path.parent, LOCK_NAME),
        ):
            path.unlink()

    def local_path(self, key: str) -> Path:
        """The file itself, to be read in place. Raises `ObjectMissing` or `ObjectRefused`."""
        path = self._path(key)
        try:
            real = path.resolve()
            if path.is_dir() and not path.is_symlink():
                os.scandir(path).close()
        except PermissionError as error:
            raise self._refusal(key, error) from error
        except (OSError, RuntimeError) as error:  # Python 3.11 raises the latter for a circle
            raise ObjectMissing(f"{self.uri}/{key} is a link in a circle: {error}") from error
        if not real.is_relative_to(self.root.resolve()):
            raise ObjectMissing(
                f"{self.uri}/{key} is a link that leaves the folder: {real}; "
                "links must stay inside it"
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

    def _path_to_change(self, key: str) -> Path:
        path = self._path(key)
        if not self._is_inside(path.parent):
            raise UserError(
                f"{self.uri}/{key} may not be changed: {path.parent} leads out of the folder, to "
                f"{path.parent.resolve()}; links must stay inside it"
            )
        return path

    def _is_inside(self, folder: Path) -> bool:
        """Whether `folder`, links followed, is the store's own or lies below it."""
        return folder == self.root or folder.resolve().is_relative_to(self.root.resolve())

    def _path(self, key: str) -> Path:
        parts = key.split("/")
        if "\0" in key or any(part in ("", ".", "..") for part in parts):
            raise UserError(
                f"{key!r} is not a valid key of {self.uri}: keys are relative paths without '.', "
                "'..' or empty parts"
            )
        return self.root.joinpath(*parts)


def _unknown(key: str) -> ObjectInfo:
    """What is listed of an object whose size and time of change are withheld."""
    return ObjectInfo(key, 1, "unreadable")


def list_folder(folder: Path) -> list[tuple[str, bool]]:
    """``(name, is a folder)`` of the entries of `folder`, in the order of the keys below it.

    Links are not followed.
    """
    with os.scandir(folder) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    return sorted(found, key=lambda item: f"{item[0]}/" if item[1] else item[0])


def _remove_abandoned(path: Path) -> None:
    """Remove an unfinished file whose writer died, after a day."""
    with contextlib.suppress(OSError):  # gone already, or not ours to remove
        if time.time() - path.lstat().st_mtime > ABANDONED_SECONDS:
            path.unlink()


def _etag(status: os.stat_result) -> str:
    return f"{status.st_mtime_ns:x}-{status.st_size:x}"
