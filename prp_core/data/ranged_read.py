"""Ranged reads of an object: in order, over several connections at once, verified.

A store detects a body that ends early; it cannot detect a flipped byte in a range. So a ranged read
needs a proof: a digest for each piece (`read_verified`), or one of the whole object, which
`NodeCache` compares at the end.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from prp_core.data.object_store import ObjectStore
from prp_core.errors import CorruptObject

RANGE_BYTES = 16 << 20
NUM_READERS = 4
NUM_READS = 3  # with the same wrong bytes: then the object itself is wrong
MAX_READS = 10  # with different wrong bytes each time: then the network is


def read_verified(
    store: ObjectStore,
    key: str,
    *,
    start: int,
    num_bytes: int,
    sha256: str,
    etag: str | None = None,
) -> bytes:
    """`num_bytes` of the object from `start`, verified by `sha256` (hex), read again if wrong.

    Raises `CorruptObject` after `NUM_READS` reads that are wrong in the same way or `MAX_READS`
    wrong ones, and what `ObjectStore.read` raises.
    """
    found: list[str] = []
    while len(found) < MAX_READS and (not found or found.count(found[-1]) < NUM_READS):
        data = b"".join(store.read(key, start=start, num_bytes=num_bytes, etag=etag))
        found.append(hashlib.sha256(data).hexdigest())
        if len(data) == num_bytes and found[-1] == sha256:
            return data
    raise CorruptObject(
        f"{store.uri}/{key}, bytes {start} to {start + num_bytes - 1}: {len(data)} bytes of "
        f"sha256 {found[-1]} arrived in the last of {len(found)} reads, not {num_bytes} of "
        f"{sha256}; the digest was made from another object"
    )


def read_in_ranges(
    store: ObjectStore,
    key: str,
    num_bytes: int,
    *,
    etag: str | None = None,
    range_bytes: int = RANGE_BYTES,
    num_readers: int = NUM_READERS,
) -> Iterator[bytes]:
    """The object's bytes in order, in pieces, by up to `num_readers` requests at a time.

    At most `num_readers` ranges are held in memory. Raises `CorruptObject` when a range is shorter
    than it must be, and what `ObjectStore.read` raises; leaving early waits for the requests under
    way.
    """
    if num_bytes <= range_bytes:
        yield from store.read(key, etag=etag)
        return
    starts = iter(range(0, num_bytes, range_bytes))
    pool = ThreadPoolExecutor(num_readers, thread_name_prefix="ranges")
    ahead: deque[Future[list[bytes]]] = deque()

    def read_range(start: int) -> list[bytes]:
        wanted = min(range_bytes, num_bytes - start)
        pieces = list(store.read(key, start=start, num_bytes=wanted, etag=etag))
        received = sum(map(len, pieces))
        if received != wanted:
            raise CorruptObject(
                f"{store.uri}/{key} ends {wanted - received} bytes before the {num_bytes} that it "
                "should have; index it again"
            )
        return pieces

    try:
        while True:
            while len(ahead) < num_readers and (start := next(starts, None)) is not None:
                ahead.append(pool.submit(read_range, start))
            if not ahead:
                return
            yield from ahead.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
