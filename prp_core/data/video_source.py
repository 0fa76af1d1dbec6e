"""A frame source over original files: store, node cache and a pool of decode processes."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from prp_core.closed_at_exit import ClosedAtExit
from prp_core.data.cache.node_cache import NodeCache
from prp_core.data.decode_limits import FrameShape
from prp_core.data.decode_process import DecodeProcess
from prp_core.data.loader_config import LoaderConfig
from prp_core.data.manifest import VideoRecord
from prp_core.data.object_store import LocalStore, ObjectRef, ObjectStore
from prp_core.data.readers.video_reader import VideoInfo, YuvPlanes
from prp_core.errors import BrokenVideo, CorruptObject, ObjectChanged, ObjectMissing, UserError

if TYPE_CHECKING:  # torch is imported where frames are read: what only indexes does without
    import torch

    from prp_core.data.colour import Frames

REASON_OF_STORE_ERROR = {
    ObjectMissing: "missing",
    ObjectChanged: "changed",
    CorruptObject: "corrupt",
}


class VideoSource(ClosedAtExit):
    """`loader.num_decoders` decode processes over one store; threads wait for a free one.

    `cache` may be None for a `LocalStore`, whose files are read in place. A failure of the store
    (`StoreUnavailable`) is raised as it is; every fault of one video is a `BrokenVideo` with the
    record's key. Close it, or use it as a context manager.
    """

    def __init__(self, store: ObjectStore, cache: NodeCache | None, loader: LoaderConfig) -> None:
        if cache is None and not isinstance(store, LocalStore):
            raise UserError(
                f"{store.uri}: videos that are not files of this machine need a cache folder"
            )
        self.store = store
        self.loader = loader
        self._cache = cache
        folders = [
            place.root for place in (store, cache) if isinstance(place, LocalStore | NodeCache)
        ]
        self._decoders = [DecodeProcess(loader, folders) for _ in range(loader.num_decoders)]
        self._idle: queue.LifoQueue[DecodeProcess] = queue.LifoQueue()
        for decoder in self._decoders:
            self._idle.put(decoder)

    @property
    def counters(self) -> dict[str, float]:
        """Totals of this process, by metric name.

        ``data/decoder_starts`` (more than there are decoders: some were killed),
        ``data/decode_seconds`` of CPU, ``data/decoder_sent_bytes`` of frames that came over a
        socket and not through shared memory, the cache's as ``data/cache_*``, and a remote store's
        requests, bytes, retries by cause and seconds of waiting as ``data/store_*``.
        """
        cache = self._cache.counters if self._cache is not None else {}
        store: dict[str, float] = getattr(self.store, "counters", {})
        starts = float(sum(decoder.num_starts for decoder in self._decoders))
        seconds = sum(decoder.cpu_seconds for decoder in self._decoders)
        named = {
            f"data/{who}_{name}": value
            for who, counts in (("cache", cache), ("store", store))
            for name, value in counts.items()
        }
        return {
            "data/decoder_starts": starts,
            "data/decode_seconds": seconds,
            "data/decoder_sent_bytes": float(sum(one.num_bytes_sent for one in self._decoders)),
            **named,
        }

    def frames(self, record: VideoRecord, positions: Sequence[int]) -> torch.Tensor:
        """See `FrameSource.frames`; at the video's own size. Raises `BrokenVideo`."""
        assert positions and min(positions) >= 0 and max(positions) < record.num_frames, (
            record.key,
            record.num_frames,
            tuple(positions),
        )
        import torch

        with self.local_file(record.ref) as path, self._decoder() as decoder, _named(record.key):
            return torch.from_numpy(
                decoder.read(path, positions, num_frames=record.num_frames, shape=_shape_of(record))
            )

    def planes(self, record: VideoRecord, positions: Sequence[int]) -> Frames:
        """As `frames`, but as 8-bit 4:2:0 where the video is stored so."""
        assert positions and min(positions) >= 0 and max(positions) < record.num_frames, (
            record.key,
            record.num_frames,
            tuple(positions),
        )
        import torch

        from prp_core.data.colour import PlanarFrames

        with self.local_file(record.ref) as path, self._decoder() as decoder, _named(record.key):
            read = decoder.read_planes(
                path, positions, num_frames=record.num_frames, shape=_shape_of(record)
            )
        if isinstance(read, YuvPlanes):
            return PlanarFrames(torch.from_numpy(read.planes_NHW), read.matrix, read.full_range)
        return torch.from_numpy(read)

    def read_through(
        self, record: VideoRecord, num_frames_at_a_time: int
    ) -> Iterator[torch.Tensor]:
        """See `ReadsThrough.read_through`; one decoder is kept until the last frame."""
        import torch

        with self.local_file(record.ref) as path, self._decoder() as decoder, _named(record.key):
            shape = _shape_of(record)
            for first in range(0, record.num_frames, num_frames_at_a_time):
                count = min(num_frames_at_a_time, record.num_frames - first)
                yield torch.from_numpy(decoder.read_next(path, first, count, shape=shape))

    @property
    def capacity_ahead_bytes(self) -> int:
        """See `FetchesAhead`; 0 where files are read in place."""
        return (
            self._cache.capacity_ahead_bytes
            if self._cache is not None and not isinstance(self.store, LocalStore)
            else 0
        )

    def prefetch(self, record: VideoRecord) -> None:
        """Download the video's object to the node's cache, if it may stay there."""
        if self._cache is not None:
            self._cache.prefetch(record.ref)

    def inspect(self, ref: ObjectRef, path: Path, *, timeout_seconds: float) -> VideoInfo:
        """The figures of the file at `path`, every frame decoded.

        Raises `BrokenVideo` with `ref`'s key.
        """
        with self._decoder() as decoder, _named(ref.key):
            return decoder.inspect(path, timeout_seconds=timeout_seconds)

    @contextlib.contextmanager
    def local_file(self, ref: ObjectRef) -> Iterator[Path]:
        """The object as a verified local file, for the length of the block.

        Raises `BrokenVideo` or `StoreUnavailable`.
        """
        with contextlib.ExitStack() as stack:
            try:
                path = (
                    stack.enter_context(self._cache.open(ref))
                    if self._cache is not None
                    else self._file_in_place(ref)
                )
            except tuple(REASON_OF_STORE_ERROR) as error:
                raise BrokenVideo(
                    ref.key, REASON_OF_STORE_ERROR[type(error)], str(error)
                ) from error
            yield path

    def _file_in_place(self, ref: ObjectRef) -> Path:
        assert isinstance(self.store, LocalStore)
        return self.store.expect(ref)

    @contextlib.contextmanager
    def _decoder(self) -> Iterator[DecodeProcess]:
        decoder = self._idle.get()
        try:
            yield decoder
        finally:
            self._idle.put(decoder)

    def close(self) -> None:
        """End the decode processes after their requests; a later request starts them again."""
        busy = [self._idle.get() for _ in self._decoders]
        for decoder in busy:
            decoder.close()
            self._idle.put(decoder)
        if self._cache is not None:
            self._cache.close()


def _shape_of(record: VideoRecord) -> FrameShape:
    return FrameShape(record.height, record.width)


@contextlib.contextmanager
def _named(key: str) -> Iterator[None]:
    """Raise a `BrokenVideo` with the video's key in place of its local path."""
    try:
        yield
    except BrokenVideo as error:
        raise BrokenVideo(key, error.reason, error.detail) from error
