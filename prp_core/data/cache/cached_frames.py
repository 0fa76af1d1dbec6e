"""A frame source that reads through the node's cache of decoded frames.

Each video is decoded once, whole; every trial then reads strided parts of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator, Sequence

import torch

from prp_core.closed_at_exit import ClosedAtExit
from prp_core.data.cache.frame_cache import FrameCache
from prp_core.data.cache.frames_file import FramesKey
from prp_core.data.clip_config import ClipConfig
from prp_core.data.frame_source import FetchesAhead, FrameSource, ReadsThrough
from prp_core.data.loader_config import LoaderConfig
from prp_core.data.manifest import VideoRecord
from prp_core.data.transforms import resize_to_uint8

CHUNK_BYTES = 16 << 20
NUM_FILLINGS = 2


class CachedFrames(ClosedAtExit):
    """The frames of `source` at the size of `clip`, from `cache` where it has them.

    Each is equal to the bit to what the learner would make of the source's frame. `made_by` names
    what decides the pixels besides the video's bytes: the store and the reader, or the shards. A
    video that the cache cannot take comes from `source` unresized ("bypassed"). Closing it closes
    the source.
    """

    def __init__(
        self, source: FrameSource, cache: FrameCache, clip: ClipConfig, *, made_by: str
    ) -> None:
        self.loader: LoaderConfig = source.loader
        self._source = source
        self._cache = cache
        self._made_by = made_by
        self._height = clip.resize_height
        self._width = clip.resize_width

    @property
    def counters(self) -> dict[str, float]:
        """The source's counters, and the cache's as ``data/frames_*``."""
        return {
            **self._source.counters,
            **{f"data/frames_{name}": value for name, value in self._cache.counters.items()},
        }

    def frames(self, record: VideoRecord, positions: Sequence[int]) -> torch.Tensor:
        """See `FrameSource.frames`; at the clip's size unless the cache was bypassed."""
        assert positions and min(positions) >= 0 and max(positions) < record.num_frames, (
            record.key,
            record.num_frames,
            tuple(positions),
        )
        key = self.key(record)
        found = self._cache.read(key, positions)
        outcome = ""
        for _ in range(NUM_FILLINGS):  # a filled file may be evicted, or damaged, before it is read
            if found is not None or outcome == "bypassed":
                break
            outcome = self._cache.fill(key, record.key, lambda: self._whole_video(record))
            found = self._cache.read(key, positions, counts_as_hit=outcome == "waited")
        return found if found is not None else self._source.frames(record, positions)

    def prefetch(self, record: VideoRecord) -> None:
        """Fetch what decoding the video needs, unless its frames are cached already."""
        if isinstance(self._source, FetchesAhead) and not self._cache.has(self.key(record)):
            self._source.prefetch(record)

    @property
    def capacity_ahead_bytes(self) -> int:
        """See `FetchesAhead`."""
        return self._source.capacity_ahead_bytes if isinstance(self._source, FetchesAhead) else 0

    def close(self) -> None:
        """Close the source, and add this process's counters to the node's."""
        self._source.close()
        self._cache.close()

    def key(self, record: VideoRecord) -> FramesKey:
        """The cache key of the video's frames; another size, decoder or torch is another key."""
        facts = (
            self._made_by,
            torch.__version__,
            record.key,
            record.etag,
            record.num_bytes,
            record.sha256,
            record.num_frames,
            self._height,
            self._width,
        )
        identity = hashlib.sha256("\0".join(map(str, facts)).encode()).hexdigest()[:40]
        return FramesKey(identity, record.num_frames, self._height, self._width)

    def _whole_video(self, record: VideoRecord) -> Generator[torch.Tensor, None, None]:
        """Every frame in order at the training size, uint8 (n, height, width, 3), in chunks."""
        frame_bytes = max(1, record.width * record.height) * 3
        at_a_time = (
            max(1, min(CHUNK_BYTES // frame_bytes, record.num_frames)) if record.width else 8
        )
        for frames_NHWC in _chunks(self._source, record, at_a_time):
            yield resize_to_uint8(frames_NHWC, self._height, self._width)


def _chunks(source: FrameSource, record: VideoRecord, at_a_time: int) -> Iterator[torch.Tensor]:
    if isinstance(source, ReadsThrough):
        yield from source.read_through(record, at_a_time)
        return
    for first in range(0, record.num_frames, at_a_time):
        yield source.frames(record, range(first, min(first + at_a_time, record.num_frames)))
