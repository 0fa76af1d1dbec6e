"""Which span of which video at which rate a training sample is: a pure function of (seed, epoch,
index).

Nothing here depends on the number of workers or threads, on what was drawn before, or on what
happened to break; trials with the same seed walk the videos in the same order, so that they can
share downloads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prp_core.data.clip_config import ClipConfig
from prp_core.data.dilated_sampling import is_eligible, needed_positions, num_starts, start_of_draw
from prp_core.data.feasibility import check_feasible
from prp_core.data.manifest import VideoRecord
from prp_core.errors import UserError
from prp_core.randomness import draw_below, permutation


@dataclass(frozen=True)
class SampleDraw:
    """One sample: `rate_label` is the position of `rate` in the rate set, `video_index` that of the
    video among the records.
    """

    video_index: int
    rate: int
    rate_label: int
    start: int
    epoch: int
    index: int


class ClipDataset:
    """The samples of `records`. Raises `UserError` when some rate can never be drawn (counts per
    rate in the text).
    """

    def __init__(
        self, records: Sequence[VideoRecord], clip: ClipConfig, rates: Sequence[int], seed: int
    ) -> None:
        if not records:
            raise UserError(
                "no usable video to train on; see `prp data index` for what was quarantined and why"
            )
        check_feasible(records, rates, clip.length, clip.short_videos)
        self.records = tuple(records)
        self.clip = clip
        self.rates = tuple(rates)
        self.seed = seed
        self._long_enough = {
            rate: [
                video
                for video, record in enumerate(self.records)
                if is_eligible(record.num_frames, clip.length, rate)
            ]
            for rate in self.rates
        }
        self._last_order: tuple[int, list[int]] = (-1, [])

    def draw(self, epoch: int, index: int, attempt: int = 0) -> SampleDraw:
        """Sample `index` of `epoch`. Attempt 1, 2, ... are what takes its place while the video of
        the attempt before is broken.
        """
        key = (self.seed, epoch, index)
        video = self._order(epoch)[index % len(self.records)]
        label = draw_below(len(self.rates), *key, "rate")
        if attempt:
            candidates = self._candidates(self.rates[label])
            video = candidates[draw_below(len(candidates), *key, "replacement", attempt)]
        video, label = self._fitting(video, label, key)
        rate = self.rates[label]
        num_frames = self.records[video].num_frames
        draws = (
            num_starts(num_frames, self.clip.length, rate) or num_frames
        )  # too short: looped, so every frame may begin
        start = start_of_draw(draw_below(draws, *key, "start", attempt))
        return SampleDraw(video, rate, label, start, epoch, index)

    def _order(self, epoch: int) -> list[int]:
        """The epoch's order of videos; each comes once."""
        last_epoch, order = self._last_order
        if last_epoch != epoch:
            order = permutation(len(self.records), self.seed, epoch, "order")
            self._last_order = (epoch, order)
        return order

    def _candidates(self, rate: int) -> Sequence[int]:
        if self.clip.short_videos == "loop":
            return range(len(self.records))
        return self._long_enough[rate if self.clip.short_videos == "resample" else min(self.rates)]

    def _fitting(self, video: int, label: int, key: tuple[int, int, int]) -> tuple[int, int]:
        """(video, rate label) after the policy for short videos had its say."""
        rate = self.rates[label]
        policy = self.clip.short_videos
        if policy == "loop" or is_eligible(self.records[video].num_frames, self.clip.length, rate):
            return video, label
        candidates = self._candidates(rate)
        fits_some = is_eligible(self.records[video].num_frames, self.clip.length, min(self.rates))
        if policy == "resample" or not fits_some:
            video = candidates[draw_below(len(candidates), *key, "video")]
        if policy == "max-rate":
            num_fitting = sum(
                is_eligible(self.records[video].num_frames, self.clip.length, rate)
                for rate in self.rates
            )
            label = draw_below(
                num_fitting, *key, "fitting rate"
            )  # rates ascend, so those that fit come first
        return video, label

    def positions(
        self, draw: SampleDraw, upsampling: int, *, with_attention: bool
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """(positions after the start that the sample carries, the video's frames that are read for
        them).
        """
        positions = needed_positions(self.clip.length, draw.rate, upsampling, with_attention)
        num_frames = self.records[draw.video_index].num_frames
        return positions, tuple((draw.start + position) % num_frames for position in positions)
