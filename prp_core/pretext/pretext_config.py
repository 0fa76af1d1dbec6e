"""The pretext tasks of a run: one field for each task."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from prp_core.data.dilated_sampling import input_positions
from prp_core.data.spans import SpanSampling
from prp_core.errors import UserError
from prp_core.pretext.playback_rate import PlaybackRate
from prp_core.pretext.playing_direction import PlayingDirection
from prp_core.pretext.slow_motion import SlowMotion
from prp_core.pretext.task import PretextTask


@dataclass(frozen=True, kw_only=True)
class PretextTasks:
    """The pretext tasks. A task is on exactly where its `loss_weight` is above 0.

    A task that is off has no head in the network, makes no targets and computes nothing. At least
    one task is on; raises `UserError` otherwise.
    """

    playback_rate: PlaybackRate = field(default_factory=PlaybackRate)
    """Classify the rate that a clip is played at."""

    slow_motion: SlowMotion = field(default_factory=SlowMotion)
    """Reconstruct the clip at a multiple of its frame rate."""

    playing_direction: PlayingDirection = field(default_factory=PlayingDirection)
    """Classify whether a clip is played forwards or backwards; off by default."""

    def __post_init__(self) -> None:
        if not self.active:
            names = ", ".join(f"pretext.{entry.name}.loss_weight" for entry in fields(self))
            raise UserError(
                f"every pretext task is off ({names} are all 0): raise the weight of at least one"
            )

    @property
    def active(self) -> dict[str, PretextTask]:
        """The tasks that are on, by name, in the order of the fields."""
        tasks = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {name: task for name, task in tasks.items() if task.loss_weight > 0}

    def span_sampling(self, clip_length: int) -> SpanSampling:
        """How spans are drawn for the tasks that are on, and which of their frames are carried."""
        active = self.active.values()
        rates = self.playback_rate.rate_list
        positions = {
            rate: {
                *input_positions(clip_length, rate),
                *(place for task in active for place in task.positions(clip_length, rate)),
            }
            for rate in rates
        }
        return SpanSampling(
            rates=rates,
            positions={rate: tuple(sorted(places)) for rate, places in positions.items()},
            reversed_share=max(task.reversed_share for task in active),
        )
