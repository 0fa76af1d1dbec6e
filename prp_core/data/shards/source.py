"""A frame source over prepared shards: pieces are read, verified by checksum and decoded."""

from __future__ import annotations

import os
import threading
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from prp_core.closed_at_exit import ClosedAtExit
from prp_core.data.cache.node_cache import NodeCache
from prp_core.data.loader_config import LoaderConfig
from prp_core.data.manifest import VideoRecord
from prp_core.data.object_store import LocalStore, ObjectRef, ObjectStore
from prp_core.data.shards.index import (
    ByteRange,
    ShardIndex,
    ShardVideo,
    kept_whole,
    merged_ranges,
)
from prp_core.data.shards.jpeg_codec import decode_jpegs
from prp_core.data.video_source import REASON_OF_STORE_ERROR
from prp_core.errors import BrokenVideo, UserError

if TYPE_CHECKING:
    from prp_core.data.readers.compact_video import CompactDecoder

MAX_GAP_BYTES = 256 << 10
MAX_RANGE_BYTES = 16 << 20
NUM_READS = 3
COUNTERS = ("data/shard_frames", "data/shard_bytes", "data/shard_ranges", "data/shard_corrupt")


class ShardSource(ClosedAtExit):
    """The videos of `index`, whose shards lie in `store`, as a `FrameSource`.

    Shards come whole through `cache` as far as half of `capacity_bytes` (the cache's) holds them,
    the others by ranges of the wanted frames; without a cache, all by ranges. Shards in a folder
    are read in place. Each piece's CRC32 is compared before it is decoded; a wrong piece is counted
    and read again. JPEGs are decoded on `device`. Close it, or use it as a context manager. Raises
    `UserError` when a shard is not in the store.
    """

    def __init__(
        self,
        index: ShardIndex,
        store: ObjectStore,
        cache: NodeCache | None,
        loader: LoaderConfig,
        *,
        capacity_bytes: int = 0,
        device: torch.device | None = None,
    ) -> None:
        self.index = index
        self.store = store
        self.loader = loader
        self._cache = cache
        self._device = device or torch.device("cpu")
        self._refs = _shard_refs(index, store)
        in_place = isinstance(store, LocalStore)
        self._whole = (
            frozenset() if cache is None or in_place else kept_whole(index.files, capacity_bytes)
        )
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._of_thread = threading.local()

    @property
    def counters(self) -> dict[str, float]:
        """Frames returned, their bytes, range requests, corrupt pieces.

        The cache's counters are added as ``data/cache_*``.
        """
        cache = self._cache.counters if self._cache is not None else {}
        with self._lock:
            own = {name: float(self._counts[name]) for name in COUNTERS}
        return {**own, **{f"data/cache_{name}": value for name, value in cache.items()}}

    def frames(self, record: VideoRecord, positions: Sequence[int]) -> torch.Tensor:
        """See `FrameSource.frames`; at the prepared size, on the device.

        Only the pieces that hold the frames are read and decoded. Raises `BrokenVideo` ("corrupt"
        after `NUM_READS` readings) and `StoreUnavailable`.
        """
        assert positions and min(positions) >= 0 and max(positions) < record.num_frames, (
            record.key,
            record.num_frames,
            tuple(positions),
        )
        video = self.index.expect(record.key, record.sha256)
        wanted = sorted(set(positions))
        numbers = sorted({position // self.index.settings.frames_per_piece for position in wanted})
        pieces = self._pieces(video, numbers)
        try:
            frames_NHWC = self._decode(pieces, numbers, wanted)
        except ValueError as error:
            raise BrokenVideo(
                record.key, "corrupt", f"a piece with the right checksum does not decode: {error}"
            ) from error
        self._count(
            {"data/shard_frames": len(wanted), "data/shard_bytes": sum(map(len, pieces.values()))}
        )
        if wanted == list(positions):
            return frames_NHWC
        return frames_NHWC[torch.from_numpy(np.searchsorted(wanted, list(positions)))]

    def _decode(
        self, pieces: Mapping[int, bytes], numbers: Sequence[int], wanted: Sequence[int]
    ) -> torch.Tensor:
        settings = self.index.settings
        if settings.kind == "jpeg":
            return decode_jpegs(
                [pieces[number] for number in numbers],
                settings.height,
                settings.width,
                self._device,
            )
        frames_NHWC = np.empty((len(wanted), settings.height, settings.width, 3), dtype=np.uint8)
        row = 0
        for number in numbers:
            first = number * settings.frames_per_piece
            within = [
                position - first
                for position in wanted
                if first <= position < first + settings.frames_per_piece
            ]
            self._compact_decoder().decode(
                pieces[number], within, frames_NHWC[row : row + len(within)]
            )
            row += len(within)
        return torch.from_numpy(frames_NHWC).to(self._device)

    def _compact_decoder(self) -> CompactDecoder:
        """This thread's GOP decoder."""
        # PyAV is loaded only where shards are compact.
        from prp_core.data.readers.compact_video import CompactDecoder

        if not hasattr(self._of_thread, "decoder"):
            self._of_thread.decoder = CompactDecoder()
        return self._of_thread.decoder

    def _pieces(self, video: ShardVideo, numbers: Sequence[int]) -> dict[int, bytes]:
        """The bytes of the pieces `numbers` (ascending), each with the right checksum."""
        offsets = video.offsets()
        found: dict[int, bytes] = {}
        missing = list(numbers)
        for _ in range(NUM_READS):
            ranges = [
                ByteRange(int(offsets[number]), int(video.sizes[number])) for number in missing
            ]
            for number, piece in zip(missing, self._read(video, ranges), strict=True):
                if zlib.crc32(piece) == video.crc32s[number]:
                    found[number] = piece
            missing = [number for number in missing if number not in found]
            if not missing:
                return found
            self._count({"data/shard_corrupt": len(missing)})
            if video.shard in self._whole and self._cache is not None:
                self._cache.discard(self._refs[video.shard])
        name = self.index.files[video.shard].name
        raise BrokenVideo(
            video.key,
            "corrupt",
            f"{self.store.uri}/{name}: {len(missing)} pieces have the wrong checksum, "
            f"from number {missing[0]}",
        )

    def _read(self, video: ShardVideo, ranges: Sequence[ByteRange]) -> list[bytes]:
        """The bytes of each of `ranges` (ascending) in the video's shard."""
        ref = self._refs[video.shard]
        try:
            if isinstance(self.store, LocalStore):
                return _read_file(self.store.expect(ref), ranges)
            if video.shard in self._whole and self._cache is not None:
                with self._cache.open(ref) as path:
                    return _read_file(path, ranges)
            return self._read_by_range(ref, ranges)
        except tuple(REASON_OF_STORE_ERROR) as error:
            raise BrokenVideo(video.key, REASON_OF_STORE_ERROR[type(error)], str(error)) from error

    def _read_by_range(self, ref: ObjectRef, ranges: Sequence[ByteRange]) -> list[bytes]:
        merged = merged_ranges(ranges, MAX_GAP_BYTES, MAX_RANGE_BYTES)
        bodies = [
            b"".join(
                self.store.read(ref.key, start=item.start, num_bytes=item.num_bytes, etag=ref.etag)
            )
            for item in merged
        ]
        self._count({"data/shard_ranges": len(merged)})
        found = []
        place = 0
        for item in ranges:
            while item.start >= merged[place].end:
                place += 1
            start = item.start - merged[place].start
            found.append(bodies[place][start : start + item.num_bytes])
        return found

    def _count(self, amounts: Mapping[str, int]) -> None:
        with self._lock:
            self._counts.update(amounts)

    def close(self) -> None:
        """Save the cache's counters; nothing else stays open between two requests."""
        if self._cache is not None:
            self._cache.close()


def _shard_refs(index: ShardIndex, store: ObjectStore) -> list[ObjectRef]:
    """The shards as the store lists them now: a copied place has etags of its own."""
    folders = {file.name.rpartition("/")[0] for file in index.files}
    there = {
        info.key: info
        for folder in sorted(folders)
        for info in store.list(f"{folder}/" if folder else "")
    }
    for file in index.files:
        info = there.get(file.name)
        if info is None or info.num_bytes != file.num_bytes:
            found = "is not there"
            if info is not None:
                found = f"holds {info.num_bytes} bytes, not {file.num_bytes}"
            raise UserError(
                f"{store.uri}/{file.name} {found}; copy the prepared place again, whole, "
                "or prepare the videos again"
            )
    return [
        ObjectRef(file.name, file.num_bytes, there[file.name].etag, file.sha256)
        for file in index.files
    ]


def _read_file(path: os.PathLike[str], ranges: Sequence[ByteRange]) -> list[bytes]:
    file_descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return [os.pread(file_descriptor, item.num_bytes, item.start) for item in ranges]
    finally:
        os.close(file_descriptor)
