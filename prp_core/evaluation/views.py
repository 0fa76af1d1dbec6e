"""The views of a video: the clips that stand for it in every evaluation (method §6.1).

They are the same for every encoder, whatever clip length it was trained with.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from prp_core.checks import check
from prp_core.data.clip_config import ClipConfig
from prp_core.data.dilated_sampling import evenly_spaced_starts

if TYPE_CHECKING:  # a config is read where torch is not loaded
    import torch

POOLING = "max-1-2-2-flatten-mean"  # of an encoder's output over the views, in `features`

EVALUATION_PRECISION = "float32"
"""Features are computed in strict float32 (`numerics.strict_float32`), whatever training does."""


@dataclass(frozen=True, kw_only=True)
class ViewsConfig:
    """How many clips of a video are evaluated, and how long they are (method: 10 of 16 frames)."""

    num_clips: int = 10
    """Clips of each video, their centres evenly spaced over it."""

    clip_length: int = 16
    """Consecutive frames of a clip, a multiple of 8."""

    batch_size: int = 32
    """Clips that go through the encoder at a time; no number depends on it."""

    def __post_init__(self) -> None:
        check(
            self.num_clips >= 1, "evaluation.views.num_clips", self.num_clips, "must be at least 1"
        )
        check(
            self.clip_length > 0 and self.clip_length % 8 == 0,
            "evaluation.views.clip_length",
            self.clip_length,
            "must be a positive multiple of 8",
        )
        check(
            self.batch_size >= 1,
            "evaluation.views.batch_size",
            self.batch_size,
            "must be at least 1",
        )


def view_positions(num_frames: int, views: ViewsConfig) -> tuple[tuple[int, ...], ...]:
    """The consecutive frame numbers of each of `views.num_clips` clips of a video.

    A video shorter than a clip repeats its last frame.
    """
    starts = evenly_spaced_starts(num_frames, views.clip_length, views.num_clips)
    return tuple(clip_positions(start, views.clip_length, num_frames) for start in starts)


def window_positions(
    num_frames: int, views: ViewsConfig
) -> tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...]]:
    """The clips of the first third of a video, and those of its last third: no frame is in both.

    Half as many clips in each as `views` has of the whole video, at least one. Where a third is
    shorter than a clip, its last frame is repeated. The video has two frames or more.
    """
    third = max(1, num_frames // 3)
    in_third = replace(views, num_clips=max(1, views.num_clips // 2))
    first = view_positions(third, in_third)
    last_start = num_frames - third
    last = tuple(tuple(last_start + position for position in clip) for clip in first)
    return first, last


def clip_positions(start: int, clip_length: int, num_frames: int) -> tuple[int, ...]:
    """`clip_length` consecutive frame numbers from `start`, the last frame repeated at the end."""
    return tuple(min(start + offset, num_frames - 1) for offset in range(clip_length))


def distinct_positions(clips: tuple[tuple[int, ...], ...]) -> tuple[int, ...]:
    """Every frame that some clip needs, ascending: a video is decoded once for all."""
    return tuple(sorted({position for positions in clips for position in positions}))


def arrange_clips(
    frames_NHWC: torch.Tensor,
    clips: tuple[tuple[int, ...], ...],
    clip: ClipConfig,
    device: torch.device,
) -> torch.Tensor:
    """The clips as float32 (num_clips, 3, T, crop, crop) in [0, 1] on `device`.

    Resized and centre-cropped. `frames_NHWC` are the frames of `distinct_positions(clips)` in that
    order, uint8.
    """
    from prp_core.data.transfer import allocate_for, pack_numbers
    from prp_core.data.transforms import centre_placement, cropped_pieces, pack_crops

    row_of = {position: row for row, position in enumerate(distinct_positions(clips))}
    assert len(row_of) == len(frames_NHWC), (len(row_of), frames_NHWC.shape)
    places = (centre_placement(clip),)
    packed = pack_crops([frames_NHWC], places, clip, device).to(device)
    rows = [[row_of[position] for position in positions] for positions in clips]
    table = pack_numbers({"rows": rows}, allocate_for(device)).to(device).tables()["rows"]
    (frames_NCHW,) = cropped_pieces(packed, places, clip)
    return frames_NCHW[table].transpose(1, 2).contiguous()
