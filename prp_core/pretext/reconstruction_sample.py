"""Reconstruction samples: clip, target, reconstruction and attention, frame by frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from prp_core.data.clip_config import ClipConfig
from prp_core.data.clip_dataset import ClipDataset, SampleDraw
from prp_core.data.dilated_sampling import num_starts, span_length, spread_frames
from prp_core.data.frame_source import FrameSource
from prp_core.data.manifest import VideoRecord
from prp_core.data.spans import SpanBatch, SpanSample
from prp_core.data.transforms import thumbnails
from prp_core.pretext.motion_attention import AttentionConfig
from prp_core.pretext.network import PrpNetwork
from prp_core.pretext.pretext_config import PretextTasks
from prp_core.pretext.slow_motion import SlowMotionTargets
from prp_core.pretext.targets import build_pretext_batch

NUM_FRAMES = 6
THUMBNAIL_PIXELS = 64


@dataclass(frozen=True)
class ShownFrame:
    """One target frame of a sample, and the clip's most recent frame at that moment.

    `target` counts from 0; `position` is the frame of the video, not whole where the target is
    interpolated; `clip_frame` is the frame of the clip.
    """

    target: int
    position: float
    clip_frame: int
    supervised: bool


@dataclass(frozen=True)
class ReconstructionSample:
    """The reconstruction of a training video's clip, as small pictures beside its errors.

    The clip begins at native frame `start` and plays at `rate`. For each of `frames` there is a
    picture in `clip_NHWC`, `target_NHWC`, `output_NHWC` (RGB) and `attention_NHW` (grey, 0 for the
    lowest weight that the config allows, 255 for the highest; None where there is no attention),
    uint8, at most `THUMBNAIL_PIXELS` square. `predicted_rate` and `predicted_probability` are the
    rate classifier's; None and 0 where the playback-rate task is off. `error` is the clip's
    reconstruction loss (weighted, supervised frames alone), beside two baselines: `error_of_mean`
    with the clip's mean colour everywhere, `error_of_repeating` with each of the clip's frames
    `upsampling` times.
    """

    key: str
    label: str
    rate: int
    start: int
    upsampling: int
    num_targets: int
    num_supervised: int
    frames: tuple[ShownFrame, ...]
    clip_NHWC: np.ndarray
    target_NHWC: np.ndarray
    output_NHWC: np.ndarray
    attention_NHW: np.ndarray | None
    predicted_rate: int | None
    predicted_probability: float
    error: float
    error_of_mean: float
    error_of_repeating: float


def choose_draws(
    records: Sequence[VideoRecord],
    order: Sequence[int],
    clip: ClipConfig,
    rates: Sequence[int],
    number: int,
) -> list[SampleDraw]:
    """`number` samples from the middle of different videos, their rates cycling through `rates`.

    Each takes the first of `order` (indices of `records`) that is long enough for its rate; where
    ``clip.short_videos`` is ``loop`` and none is, simply the first. A rate that finds no video is
    left out.
    """
    free = list(order)
    draws = []
    for index in range(number):
        label = index % len(rates)
        fitting = [
            video for video in free if records[video].num_frames >= clip.frames_needed(rates[label])
        ]
        candidates = fitting or (free if clip.short_videos == "loop" else [])
        if candidates:
            video = candidates[0]
            free.remove(video)
            span = span_length(clip.length, rates[label])
            start = max(0, num_starts(records[video].num_frames, span) - 1) // 2
            draws.append(SampleDraw(video, rates[label], label, start, 0, index))
    return draws


def read_span(dataset: ClipDataset, draw: SampleDraw, source: FrameSource) -> SpanSample:
    """The frames that training would read for `draw`. Raises `BrokenVideo`."""
    positions, frame_numbers = dataset.positions(draw)
    frames_NHWC = source.frames(dataset.records[draw.video_index], frame_numbers)
    return draw.sample(frames_NHWC, positions)


@torch.no_grad()
def reconstruct(
    network: PrpNetwork,
    record: VideoRecord,
    span: SpanSample,
    clip: ClipConfig,
    tasks: PretextTasks,
) -> ReconstructionSample:
    """The reconstruction of `span` of the video `record` by `network`, in evaluation mode.

    Centre crop, not mirrored, in float32. The slow-motion task is on in `tasks`, and the span is
    played forwards.
    """
    assert not network.training and not span.is_reversed
    device = next(network.parameters()).device
    batch = build_pretext_batch(
        SpanBatch((span,)),
        clip.without_augmentation(),
        tasks,
        device,
        (),
    )
    clip_BCTHW = batch.clip_BCTHW
    output = network(clip_BCTHW)
    targets: SlowMotionTargets = batch.targets["slow_motion"]
    upsampling = tasks.slow_motion.upsampling
    supervised = targets.supervised_BT[0].tolist()
    places = spread_frames(len(supervised), NUM_FRAMES)
    frames = tuple(
        ShownFrame(j, span.start + j * span.rate / upsampling, j // upsampling, supervised[j])
        for j in places
    )
    predicted_rate, predicted_probability = _predicted_rate(output, tasks)
    mean_BCTHW = clip_BCTHW.mean(dim=(2, 3, 4), keepdim=True).expand_as(targets.target_BCTHW)
    repeated_BCTHW = clip_BCTHW.repeat_interleave(upsampling, dim=2)
    return ReconstructionSample(
        key=record.key,
        label=record.label or "",
        rate=span.rate,
        start=span.start,
        upsampling=upsampling,
        num_targets=len(supervised),
        num_supervised=sum(supervised),
        frames=frames,
        clip_NHWC=_pictures(clip_BCTHW, [frame.clip_frame for frame in frames]),
        target_NHWC=_pictures(targets.target_BCTHW, places),
        output_NHWC=_pictures(output["slow_motion"], places),
        attention_NHW=_attention_pictures(targets, tasks.slow_motion.attention, places),
        predicted_rate=predicted_rate,
        predicted_probability=predicted_probability,
        error=float(tasks.slow_motion.loss(output["slow_motion"], targets)),
        error_of_mean=float(tasks.slow_motion.loss(mean_BCTHW, targets)),
        error_of_repeating=float(tasks.slow_motion.loss(repeated_BCTHW, targets)),
    )


def _predicted_rate(
    output: Mapping[str, torch.Tensor], tasks: PretextTasks
) -> tuple[int | None, float]:
    """The rate classifier's prediction and its probability."""
    if "playback_rate" not in output:
        return None, 0.0
    shares = output["playback_rate"].softmax(dim=1)[0]
    predicted = int(shares.argmax())
    return tasks.playback_rate.rate_list[predicted], float(shares[predicted])


def _pictures(frames_BCTHW: torch.Tensor, places: Sequence[int]) -> np.ndarray:
    return thumbnails(frames_BCTHW[0, :, list(places)].transpose(0, 1), THUMBNAIL_PIXELS)


def _attention_pictures(
    targets: SlowMotionTargets, attention: AttentionConfig, places: Sequence[int]
) -> np.ndarray | None:
    """The weights' mean over the channels, from the lowest to the highest weight allowed."""
    if attention.mode == "none" or attention.high == attention.low:
        return None
    weights_BCTHW = targets.attention_BCTHW.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1, -1)
    return _pictures((weights_BCTHW - attention.low) / (attention.high - attention.low), places)[
        ..., 0
    ]
