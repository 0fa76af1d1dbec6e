"""The loader's output: the native frames of spans, not yet resized, cropped or arranged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a config is read where torch is not loaded
    from prp_core.data.colour import Frames


@dataclass(frozen=True)
class SpanSampling:
    """How spans are drawn for training, and which of their frames a sample carries.

    `positions` maps each of `rates` to positions in the span, ascending, 0 the first frame that is
    played. `reversed_share` (0 to 1) of the spans are played backwards.
    """

    rates: tuple[int, ...]
    positions: Mapping[int, tuple[int, ...]]
    reversed_share: float = 0.0


@dataclass(frozen=True)
class SpanSample:
    """The frames of one video that one clip and its targets need.

    `frames_NHWC` is uint8 RGB at the video's own size, or the planes that become it on the device;
    frame n is the one at `positions[n]` of the span (ascending, from `SpanSampling`). The span
    begins at native frame `start`; where it `is_reversed`, position 0 is its last native frame.
    `rate_label` is the position of `rate` in the rate set. `epoch` and `index` name the sample: its
    random draws depend on them and on the seed alone.
    """

    frames_NHWC: Frames
    positions: tuple[int, ...]
    rate: int
    rate_label: int
    video_index: int
    start: int
    epoch: int
    index: int
    is_reversed: bool = False


@dataclass(frozen=True)
class SpanBatch:
    """The samples of one step on one worker; their rates and picture sizes may differ."""

    samples: tuple[SpanSample, ...]

    def __len__(self) -> int:
        return len(self.samples)
