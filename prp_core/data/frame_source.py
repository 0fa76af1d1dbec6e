"""The protocol of a frame source: decoders over original files, shards, or a cache over either."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

import torch

from prp_core.data.colour import Frames
from prp_core.data.loader_config import LoaderConfig
from prp_core.data.manifest import VideoRecord


class FrameSource(Protocol):
    """Returns frames of a manifest's videos; thread-safe.

    Frame n is the n-th frame of a full decode, in every source.
    """

    loader: LoaderConfig

    @property
    def counters(self) -> dict[str, float]:
        """Totals of this process since the source was opened, by metric name (``data/...``)."""
        ...

    def frames(self, record: VideoRecord, positions: Sequence[int]) -> torch.Tensor:
        """The frames at `positions` (any order, repeats allowed): uint8 (N, H, W, 3), RGB.

        Positions lie in 0 to ``record.num_frames - 1``. The frames may lie in memory that later
        reads return too: do not write to them. Height and width are the video's own, or the
        training size where the source stores frames at that size. Raises `BrokenVideo` for a fault
        of this video alone, `StoreUnavailable` for one of the store.
        """
        ...

    def close(self) -> None:
        """Release processes and files."""
        ...


@runtime_checkable
class ReadsThrough(Protocol):
    """A source that reads a video from its first frame to its last at less cost."""

    def read_through(
        self, record: VideoRecord, num_frames_at_a_time: int
    ) -> Iterator[torch.Tensor]:
        """All frames in order, uint8 (n, H, W, 3), at most `num_frames_at_a_time` each time.

        Raises as `FrameSource.frames` does.
        """
        ...


@runtime_checkable
class FetchesAhead(Protocol):
    """A source that can prefetch a video before its frames are requested."""

    @property
    def capacity_ahead_bytes(self) -> int:
        """Bytes of videos that may be prefetched without evicting what is needed; 0: none."""
        ...

    def prefetch(self, record: VideoRecord) -> None:
        """Bring the video to this node if there is room. Raises as `FrameSource.frames` does."""
        ...


@runtime_checkable
class PlanarSource(Protocol):
    """A source that can return frames before they are converted to RGB (``loader.colour``)."""

    def planes(self, record: VideoRecord, positions: Sequence[int]) -> Frames:
        """As `FrameSource.frames`, but as 8-bit 4:2:0 where the video is stored so."""
        ...
