"""A node's disk cache of objects: one download per object however many processes ask, bounded, and verified before anyone sees it.

A file under ``objects/`` is complete by construction: written under ``unfinished/``, verified, renamed. Whoever reads one holds a
shared lock on it, so nothing is removed under a reader. Objects of a `LocalStore` are used where they lie.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from prp_core.checks import check
from prp_core.data.cache_space import CacheSpace
from prp_core.data.object_store import LocalStore, ObjectRef, ObjectStore
from prp_core.data.ranged_read import read_in_ranges
from prp_core.errors import CorruptObject

NUM_DOWNLOADS = 3  # that bring the same wrong bytes: then the object is so
MAX_DOWNLOADS = 10  # that bring other wrong bytes each time: then it is the way here
COUNTERS = ("hits", "misses", "waits", "downloads", "bytes", "corrupt", "evicted", "bypassed", "wait_seconds")


class NodeCache:
    """`capacity_bytes` of `store`'s objects under `root`, shared by every process of the node that opens the same `root`.

    An object larger than what can be freed is fetched, used and dropped ("bypassed"). Thread-safe.
    """

    def __init__(self, root: Path | str, capacity_bytes: int, store: ObjectStore, *, sticky_share: float = 0.5) -> None:
        check(capacity_bytes > 0, "cache capacity_bytes", capacity_bytes, "must be positive")
        check(0 <= sticky_share <= 1, "cache sticky_share", sticky_share, "must lie in 0 to 1")
        self.root, self._store = Path(root).absolute(), store
        self._counts: Counter[str] = Counter()
        self._counts_lock = threading.Lock()
        self._space = CacheSpace(self.root, capacity_bytes, sticky_share, self._count)

    @property
    def counters(self) -> dict[str, float]:
        """What this process has done so far, by `COUNTERS`."""
        with self._counts_lock:
            return {name: float(self._counts[name]) for name in COUNTERS}

    def _count(self, **amounts: float) -> None:
        with self._counts_lock:
            self._counts.update(amounts)  # type: ignore[arg-type]  # a Counter holds seconds as well

    @contextlib.contextmanager
    def open(self, ref: ObjectRef) -> Iterator[Path]:
        """The complete, verified file of the object, which stays until the block ends; any process may open the path meanwhile.

        Raises `ObjectMissing`, `ObjectChanged`, `StoreUnavailable`, or `CorruptObject` after `NUM_DOWNLOADS` downloads that are wrong in
        the same way, or `MAX_DOWNLOADS` wrong ones.
        """
        if isinstance(self._store, LocalStore):
            path = self._store.expect(ref)
            self._count(hits=1)
            yield path
            return
        started = time.monotonic()
        path, pin = self._place(ref), self._pin(ref)
        if pin is None:
            path, pin = self._fetch(ref)
            self._count(wait_seconds=time.monotonic() - started)
        else:
            self._count(hits=1)
        try:
            os.utime(pin, ns=(time.time_ns(), os.fstat(pin).st_mtime_ns))  # access: last use; change: when it was loaded
            yield path
        finally:
            if path != self._place(ref):
                path.unlink(missing_ok=True)
            os.close(pin)

    def _identity(self, ref: ObjectRef) -> str:
        return hashlib.sha256(f"{self._store.uri}\0{ref.key}\0{ref.etag}\0{ref.num_bytes}".encode()).hexdigest()[:40]

    def _place(self, ref: ObjectRef) -> Path:
        identity = self._identity(ref)
        return self._space.objects / identity[:2] / identity

    def _pin(self, ref: ObjectRef) -> int | None:
        """A descriptor with a shared lock on the complete file; None when it is not there."""
        path = self._place(ref)
        try:
            file_descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        fcntl.flock(file_descriptor, fcntl.LOCK_SH)
        status = os.fstat(file_descriptor)
        if status.st_nlink and status.st_size == ref.num_bytes:
            return file_descriptor
        if status.st_nlink:  # torn by a power loss
            path.unlink(missing_ok=True)
        os.close(file_descriptor)  # or removed between open and lock
        return None

    def _fetch(self, ref: ObjectRef) -> tuple[Path, int]:
        """(path, pin) after a download by us or, if somebody else was at it, by them."""
        identity, place = self._identity(ref), self._place(ref)
        with self._space.lock(identity[:3]):
            pin = self._pin(ref)
            if pin is not None:
                self._count(hits=1, waits=1)
                return place, pin
            self._count(misses=1)
            unfinished = self._space.unfinished / f"{identity}.{secrets.token_hex(4)}"
            pin, stays = self._space.reserve(unfinished, ref.num_bytes)
            try:
                self._download(ref, pin)
                fcntl.flock(pin, fcntl.LOCK_SH)
                if not stays:
                    self._count(bypassed=1)
                    return unfinished, pin
                place.parent.mkdir(exist_ok=True)
                unfinished.rename(place)
                return place, pin
            except BaseException:
                unfinished.unlink(missing_ok=True)
                os.close(pin)
                if stays:
                    self._space.release(ref.num_bytes)
                raise

    def _download(self, ref: ObjectRef, file_descriptor: int) -> None:
        """Write and verify the object, from its beginning again while the bytes are wrong."""
        digests: list[str] = []
        while len(digests) < MAX_DOWNLOADS and (not digests or digests.count(digests[-1]) < NUM_DOWNLOADS):
            self._count(downloads=1)
            num_bytes, sha256, md5 = self._write_pieces(ref, file_descriptor)
            digests.append(sha256)
            if num_bytes == ref.num_bytes and _is_verified(ref, digests, md5):
                return
            self._count(corrupt=1)
        wanted = ref.sha256 or f"md5 {ref.etag}, and no two downloads agree"
        raise CorruptObject(
            f"{self._store.uri}/{ref.key}: {num_bytes} bytes of sha256 {digests[-1]} arrived in the last of {len(digests)} downloads, "
            f"not {ref.num_bytes} bytes of {wanted}; index again if the object is meant to be so"
        )

    def _write_pieces(self, ref: ObjectRef, file_descriptor: int) -> tuple[int, str, str]:
        """(bytes received, their sha256, their md5)."""
        position, sha256, md5 = 0, hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        for piece in read_in_ranges(self._store, ref.key, ref.num_bytes, etag=ref.etag):
            if position + len(piece) <= ref.num_bytes:  # never more than was reserved
                os.pwrite(file_descriptor, piece, position)
            position += len(piece)
            sha256.update(piece)
            md5.update(piece)
            self._count(bytes=len(piece))
        return position, sha256.hexdigest(), md5.hexdigest()


def _is_verified(ref: ObjectRef, digests: list[str], md5: str) -> bool:
    """Whether the last download is good: by the manifest's sha256, or while there is none by an etag that is an md5.

    An etag need not be one (several parts, encryption): then two downloads that agree will do.
    """
    if ref.sha256:
        return digests[-1] == ref.sha256
    return md5 == ref.etag or digests[-1] in digests[:-1]
