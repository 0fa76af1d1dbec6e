"""Prefetching of the videos of coming samples, in the order of the epoch."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from types import TracebackType

from prp_core.data.frame_source import FetchesAhead
from prp_core.data.manifest import VideoRecord

log = logging.getLogger(__name__)

NUM_THREADS = 4


def fetch_until(
    reached: int,
    fetched: int,
    num_samples: int,
    num_ahead: int,
    capacity_bytes: int,
    size_of: Callable[[int], int],
) -> int:
    """The sample before which prefetching stops while sample `reached` is decoded.

    It is at most `num_ahead` videos and `capacity_bytes` ahead of it, and never less than
    `fetched`, up to which was prefetched before; `size_of(n)` is the bytes of the n-th sample's
    video.
    """
    left = capacity_bytes
    place = reached + 1
    while (
        place < min(num_samples, reached + 1 + num_ahead) and (left := left - size_of(place)) >= 0
    ):
        place += 1
    return max(fetched, place)


class FetchAhead:
    """The prefetcher of one epoch, a context manager; `record_of(n)` is the n-th sample's video.

    A failure here is counted and no more: the decoder soon requests the same video, meets the same
    fault and reports it.
    """

    def __init__(
        self,
        source: object,
        num_samples: int,
        num_ahead: int,
        record_of: Callable[[int], VideoRecord],
    ) -> None:
        self._source = (
            source
            if isinstance(source, FetchesAhead) and num_ahead and source.capacity_ahead_bytes
            else None
        )
        self._num_samples = num_samples
        self._num_ahead = num_ahead
        self._record_of = cache(record_of)
        self._threads = ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="fetch-ahead")
        self._lock = threading.Lock()
        self._reached = -1
        self._fetched = 0
        self.num_failures = 0

    def __enter__(self) -> FetchAhead:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)

    def reach(self, sample: int) -> None:
        """Prefetch for the samples that follow `sample`, which is about to be decoded."""
        if self._source is None:
            return
        with self._lock:
            self._reached = max(self._reached, sample)
            first = max(self._fetched, self._reached + 1)
            capacity = self._source.capacity_ahead_bytes
            self._fetched = fetch_until(
                self._reached, first, self._num_samples, self._num_ahead, capacity, self._size_of
            )
            coming = range(first, self._fetched)
        for place in coming:
            self._threads.submit(self._fetch, self._source, self._record_of(place))

    def _size_of(self, place: int) -> int:
        return self._record_of(place).num_bytes

    def _fetch(self, source: FetchesAhead, record: VideoRecord) -> None:
        try:
            source.prefetch(record)
        except Exception as error:  # noqa: BLE001 - the decoder meets the same fault and says so
            with self._lock:
                self.num_failures += 1
            log.debug("%s was not prefetched: %s", record.key, error)
