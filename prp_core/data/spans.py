"""What the loader hands to training: the native frames of spans, not yet resized, cropped or
arranged into clips.
"""

from __future__ import annotations

from dataclasses import dataclass

from prp_core.data.colour import Frames


@dataclass(frozen=True)
class SpanSample:
    """The frames of one video that one clip, its target and its attention need.

    `frames_NHWC` is uint8 RGB at the video's own size, or the planes that become it on the device;
    frame n lies `positions[n]` native frames after `start` (ascending; what
    `dilated_sampling.needed_positions` gave). `rate_label` is the position of `rate` in the rate
    set. `epoch` and `index` name the sample: its random draws depend on them and on the seed alone.
    """

    frames_NHWC: Frames
    positions: tuple[int, ...]
    rate: int
    rate_label: int
    video_index: int
    start: int
    epoch: int
    index: int


@dataclass(frozen=True)
class SpanBatch:
    """The samples of one step on one worker; their rates and picture sizes may differ."""

    samples: tuple[SpanSample, ...]

    def __len__(self) -> int:
        return len(self.samples)
