"""The samples of training: which span of which video, a pure function of (seed, epoch, index).

Nothing here depends on the number of workers or threads, on what was drawn before, or on which
videos are broken. Trials with the same seed go through the videos in the same order, so that they
can share downloads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prp_core.data.clip_config import ClipConfig
from prp_core.data.dilated_sampling import (
    jittered_position,
    num_starts,
    span_length,
    start_of_draw,
)
from prp_core.data.feasibility import check_feasible
from prp_core.data.manifest import VideoRecord
from prp_core.data.spans import SpanSample, SpanSampling
from prp_core.errors import UserError
from prp_core.randomness import draw_below, draw_unit, permutation

if TYPE_CHECKING:
    from prp_core.data.colour import Frames


@dataclass(frozen=True)
class SampleDraw:
    """One sample: a video, a rate, a start and a direction.

    `video_index` is the video's position among the records, `rate_label` that of `rate` in the rate
    set, `start` the first native frame of the span, which is played at `percent` per cent of `rate`
    (100 without rate jitter), backwards where it `is_reversed`.
    """

    video_index: int
    rate: int
    rate_label: int
    start: int
    epoch: int
    index: int
    percent: int = 100
    is_reversed: bool = False

    def sample(self, frames_NHWC: Frames, positions: tuple[int, ...]) -> SpanSample:
        """The sample, given the frames at `positions` of its span."""
        return SpanSample(
            frames_NHWC,
            positions,
            self.rate,
            self.rate_label,
            self.video_index,
            self.start,
            self.epoch,
            self.index,
            self.is_reversed,
        )


class ClipDataset:
    """The samples of `records`, addressed by (epoch, index).

    Raises `UserError` when some rate can never be drawn; its text has the counts per rate.
    """

    def __init__(
        self,
        records: Sequence[VideoRecord],
        clip: ClipConfig,
        sampling: SpanSampling,
        seed: int,
    ) -> None:
        if not records:
            raise UserError(
                "no usable video to train on; see `prp data index` for what was quarantined and why"
            )
        check_feasible(records, sampling.rates, clip)
        clip.augmentation.rate_jitter.check_rates(sampling.rates)
        self.records = tuple(records)
        self.clip = clip
        self.sampling = sampling
        self.rates = sampling.rates
        self.seed = seed
        self._long_enough = {
            rate: [
                video
                for video, record in enumerate(self.records)
                if record.num_frames >= clip.frames_needed(rate)
            ]
            for rate in self.rates
        }
        self._last_order: tuple[int, list[int]] = (-1, [])

    def draw(self, epoch: int, index: int, attempt: int = 0) -> SampleDraw:
        """Sample `index` of `epoch`; `attempt` 1, 2, ... replaces one whose video is broken."""
        key = (self.seed, epoch, index)
        video = self._order(epoch)[index % len(self.records)]
        label = draw_below(len(self.rates), *key, "rate")
        if attempt:
            candidates = self._candidates(self.rates[label])
            video = candidates[draw_below(len(candidates), *key, "replacement", attempt)]
        video, label = self._fitting(video, label, key)
        rate = self.rates[label]
        percent = self.clip.augmentation.rate_jitter.draw(rate, *key, "rate jitter", attempt)
        span = span_length(self.clip.length, rate, percent)
        start = self._draw_start(self.records[video].num_frames, span, *key, "start", attempt)
        is_reversed = draw_unit(*key, "reversed") < self.sampling.reversed_share
        return SampleDraw(video, rate, label, start, epoch, index, percent, is_reversed)

    def _draw_start(self, num_frames: int, span: int, *key: int | str) -> int:
        """A start that fits; any frame of a video that is too short and therefore looped."""
        published = self.clip.sampling == "published"
        num_draws = num_starts(num_frames, span, published=published)
        if not num_draws:
            return draw_below(num_frames, *key)
        return start_of_draw(draw_below(num_draws, *key), published=published)

    def _order(self, epoch: int) -> list[int]:
        """The order of the videos in `epoch`; each comes once."""
        last_epoch, order = self._last_order
        if last_epoch != epoch:
            order = permutation(len(self.records), self.seed, epoch, "order")
            self._last_order = (epoch, order)
        return order

    def _candidates(self, rate: int) -> Sequence[int]:
        if self.clip.short_videos == "loop":
            return range(len(self.records))
        return self._long_enough[rate if self.clip.short_videos == "resample" else min(self.rates)]

    def _fits(self, video: int, rate: int) -> bool:
        return self.records[video].num_frames >= self.clip.frames_needed(rate)

    def _fitting(self, video: int, label: int, key: tuple[int, int, int]) -> tuple[int, int]:
        """(video, rate label) after the policy for short videos was applied."""
        rate = self.rates[label]
        policy = self.clip.short_videos
        if policy == "loop" or self._fits(video, rate):
            return video, label
        if policy == "resample" or not self._fits(video, min(self.rates)):
            candidates = self._candidates(rate)
            video = candidates[draw_below(len(candidates), *key, "video")]
        if policy == "max-rate":  # rates ascend, so those that fit come first
            num_fitting = sum(self._fits(video, rate) for rate in self.rates)
            label = draw_below(num_fitting, *key, "fitting rate")
        return video, label

    def positions(self, draw: SampleDraw) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """(positions within the span that the sample carries, the native frames read for them)."""
        positions = self.sampling.positions[draw.rate]
        last = span_length(self.clip.length, draw.rate) - 1
        played = [last - position if draw.is_reversed else position for position in positions]
        num_frames = self.records[draw.video_index].num_frames
        read = (draw.start + jittered_position(position, draw.percent) for position in played)
        return positions, tuple(frame % num_frames for frame in read)
