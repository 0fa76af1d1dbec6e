"""A node's bounded disk cache of objects: one verified download for all of its processes.

A file under ``objects/`` is complete by construction: written under ``unfinished/``, verified,
renamed; its name ends with the sha256 of its bytes. A reader holds a shared lock on it, so nothing
is removed while it is read. Objects of a `LocalStore` are used in place.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from prp_core.data.cache.counters import CacheCounters
from prp_core.data.cache.space import CacheSpace
from prp_core.data.object_store import LocalStore, ObjectRef, ObjectStore
from prp_core.data.ranged_read import read_in_ranges
from prp_core.errors import CorruptObject

NUM_DOWNLOADS = 3  # with the same wrong bytes: then the object itself is wrong
MAX_DOWNLOADS = 10  # with different wrong bytes each time: then the network is
COUNTERS = (
    "hits",
    "misses",
    "waits",
    "downloads",
    "bytes",
    "corrupt",
    "evicted",
    "bypassed",
    "prefetched",
    "wait_seconds",
)
SHARE_AHEAD = 0.25


class NodeCache:
    """`capacity_bytes` of `store`'s objects under `root`, shared by all processes of the node.

    An object larger than what can be evicted is fetched, used and dropped ("bypassed").
    Thread-safe.
    """

    def __init__(
        self,
        root: Path | str,
        capacity_bytes: int,
        store: ObjectStore,
        *,
        sticky_share: float = 0.5,
    ) -> None:
        self.root = Path(root).absolute()
        self._store = store
        self._counters = CacheCounters(self.root, COUNTERS)
        self._space = CacheSpace(self.root, capacity_bytes, sticky_share, self._counters.add)

    @property
    def counters(self) -> dict[str, float]:
        """What this process has counted so far, by the names of `COUNTERS`."""
        return self._counters.totals

    @property
    def capacity_ahead_bytes(self) -> int:
        """Bytes that may be prefetched: a quarter of what is evicted, so that trials share it."""
        return int(self._space.capacity_bytes * (1 - self._space.sticky_share) * SHARE_AHEAD)

    @contextlib.contextmanager
    def open(self, ref: ObjectRef) -> Iterator[Path]:
        """The complete, verified file of the object, which stays until the block ends.

        Any process may open the path meanwhile. Raises `ObjectMissing`, `ObjectChanged`,
        `StoreUnavailable`, `DiskFull`, or `CorruptObject` after `NUM_DOWNLOADS` downloads that are
        wrong in the same way, or `MAX_DOWNLOADS` wrong ones.
        """
        if isinstance(self._store, LocalStore):
            path = self._store.expect(ref)
            self._counters.add(hits=1)
            yield path
            return
        started = time.monotonic()
        found = self._pin(ref)
        if found is None:
            found = self._fetch(ref, must_stay=False)
            assert found is not None
            self._counters.add(wait_seconds=time.monotonic() - started)
        else:
            self._counters.add(hits=1)
        path, pin = found
        try:
            yield path
        finally:
            if path.parent == self._space.unfinished:
                path.unlink(missing_ok=True)
            os.close(pin)

    def discard(self, ref: ObjectRef) -> None:
        """Remove the object's file, whose bytes are wrong; the next `open` fetches it again."""
        if isinstance(self._store, LocalStore):
            return
        with self._space.lock(self._identity(ref)[:3]):
            found = self._pin(ref)
            if found is None:
                return  # another process was first
            path, pin = found
            path.unlink(missing_ok=True)
            os.close(pin)
        self._counters.add(corrupt=1)
        self._space.release(ref.num_bytes)

    def prefetch(self, ref: ObjectRef) -> None:
        """Download the object if it may stay on disk. Raises as `open` does."""
        if isinstance(self._store, LocalStore):
            return
        found = self._pin(ref) or self._fetch(ref, must_stay=True)
        if found is not None:
            os.close(found[1])

    def close(self) -> None:
        """Save this process's counters."""
        self._counters.save()

    def _identity(self, ref: ObjectRef) -> str:
        return hashlib.sha256(
            f"{self._store.uri}\0{ref.key}\0{ref.etag}\0{ref.num_bytes}".encode()
        ).hexdigest()[:40]

    def _pin(self, ref: ObjectRef) -> tuple[Path, int] | None:
        """(path, descriptor with a shared lock) of the complete file; None when there is none."""
        identity = self._identity(ref)
        folder = self._space.place(identity).parent
        paths = (
            [folder / f"{identity}-{ref.sha256}"]
            if ref.sha256
            else sorted(folder.glob(f"{identity}-*"))
        )
        for path in paths:
            pin = self._space.pin(path, ref.num_bytes)
            if pin is not None:
                return path, pin
        return None

    def _fetch(self, ref: ObjectRef, *, must_stay: bool) -> tuple[Path, int] | None:
        """(path, descriptor) after a download, ours or a concurrent one.

        None if the file `must_stay` and may not.
        """
        identity = self._identity(ref)
        with self._space.lock(identity[:3]):
            found = self._pin(ref)
            if found is not None:
                self._counters.add(**({} if must_stay else {"hits": 1, "waits": 1}))
                return found
            unfinished, pin, stays = self._space.reserve(
                identity, ref.num_bytes, must_stay=must_stay
            )
            if pin is None:
                return None
            self._counters.add(**{"prefetched" if must_stay else "misses": 1})
            try:
                sha256 = self._download(ref, pin)
                if stays:
                    return self._space.finish(unfinished, pin, f"{identity}-{sha256}"), pin
                self._counters.add(bypassed=1)
                return unfinished, pin
            except BaseException:
                self._space.abandon(unfinished, pin, ref.num_bytes if stays else 0)
                raise

    def _download(self, ref: ObjectRef, file_descriptor: int) -> str:
        """Write and verify the object, again while the bytes are wrong; returns its sha256."""
        digests: list[str] = []
        while len(digests) < MAX_DOWNLOADS and (
            not digests or digests.count(digests[-1]) < NUM_DOWNLOADS
        ):
            self._counters.add(downloads=1)
            num_bytes, sha256, md5 = self._write_pieces(ref, file_descriptor)
            digests.append(sha256)
            if num_bytes == ref.num_bytes and _is_verified(ref, digests, md5):
                return sha256
            self._counters.add(corrupt=1)
        wanted = ref.sha256 or f"md5 {ref.etag}, and no two downloads agree"
        raise CorruptObject(
            f"{self._store.uri}/{ref.key}: {num_bytes} bytes of sha256 {digests[-1]} "
            f"arrived in the last of {len(digests)} downloads, "
            f"not {ref.num_bytes} bytes of {wanted}; index again if the object is meant to be so"
        )

    def _write_pieces(self, ref: ObjectRef, file_descriptor: int) -> tuple[int, str, str]:
        """(bytes received, their sha256, their md5)."""
        position = 0
        sha256 = hashlib.sha256()
        md5 = hashlib.md5(usedforsecurity=False)
        for piece in read_in_ranges(self._store, ref.key, ref.num_bytes, etag=ref.etag):
            if position + len(piece) <= ref.num_bytes:  # never more than was reserved
                os.pwrite(file_descriptor, piece, position)
            position += len(piece)
            sha256.update(piece)
            md5.update(piece)
            self._counters.add(bytes=len(piece))
        return position, sha256.hexdigest(), md5.hexdigest()


def _is_verified(ref: ObjectRef, digests: list[str], md5: str) -> bool:
    """Whether the last download is right: by the manifest's sha256, else by an etag that is an md5.

    An etag need not be one (several parts, encryption); then two downloads that agree are enough.
    """
    if ref.sha256:
        return digests[-1] == ref.sha256
    return md5 == ref.etag or digests[-1] in digests[:-1]
