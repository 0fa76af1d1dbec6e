"""The face of whatever hands out the frames of a manifest's videos: decoders over original files,
shards, a cache before either.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

import torch

from prp_core.data.colour import Frames
from prp_core.data.loader_config import LoaderConfig
from prp_core.data.manifest import VideoRecord


class FrameSource(Protocol):
    """Thread-safe. Frame n is the n-th frame of a full decode, whoever hands it out."""

    loader: LoaderConfig

    @property
    def counters(self) -> dict[str, float]:
        """Totals of this process since the source was opened; the names are metrics'
        (``data/...``).
        """
        ...

    def frames(self, record: VideoRecord, positions: Sequence[int]) -> torch.Tensor:
        """The frames at `positions` (0 to ``record.num_frames - 1``, any order, repeats allowed):
        uint8 (N, H, W, 3), RGB.

        They may lie in memory that later reads hand out too: not to be written to. Height and width
        are the video's own, or the training size where the source holds frames at that size. Raises
        `BrokenVideo` for what is wrong with this video alone, `StoreUnavailable` for what the store
        cannot do today.
        """
        ...

    def close(self) -> None:
        """Let processes and files go."""
        ...


@runtime_checkable
class ReadsThrough(Protocol):
    """A source that is cheaper to read from a video's first frame to its last than here and
    there.
    """

    def read_through(
        self, record: VideoRecord, num_frames_at_a_time: int
    ) -> Iterator[torch.Tensor]:
        """All frames of the video in order, uint8 (n, H, W, 3), at most so many at a time. Raises
        as `FrameSource.frames` does.
        """
        ...


@runtime_checkable
class FetchesAhead(Protocol):
    """A source that can bring a video near before its frames are asked for."""

    @property
    def capacity_ahead_bytes(self) -> int:
        """How many bytes of videos may be fetched ahead without pushing out what is still to be
        used; 0: none.
        """
        ...

    def prefetch(self, record: VideoRecord) -> None:
        """Have the video on this node, if there is room. Raises as `FrameSource.frames` does."""
        ...


@runtime_checkable
class PlanarSource(Protocol):
    """A source that can hand out frames before they become RGB, which ``loader.colour = "device"``
    wants.
    """

    def planes(self, record: VideoRecord, positions: Sequence[int]) -> Frames:
        """As `FrameSource.frames`, but as 8-bit 4:2:0 where the video is stored so."""
        ...
