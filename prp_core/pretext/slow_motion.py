"""The slow-motion task: reconstruct a clip at a multiple of its frame rate (method §1.4, §4).

The generative branch of PRP: a decoder draws `upsampling` frames for each frame of the clip, and
the squared error counts more where the span moves (`motion_attention.py`). Only target frames that
are frames of the video are supervised; those interpolated between two are not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from prp_core.checks import check, check_choice
from prp_core.data.dilated_sampling import (
    chunk_of_output,
    key_frame_positions,
    needed_positions,
    target_positions,
)
from prp_core.pretext.motion_attention import (
    AttentionConfig,
    attention_from_key_frames,
    uniform_attention,
)
from prp_core.pretext.task import PretextTask, SpanRows, Tables

if TYPE_CHECKING:
    import torch
    from torch import nn

GREY_LEVEL = 1 / 255


class BuildDecoder(Protocol):
    """Builds a decoder from features of `channels` to `upsampling` frames for each of the clip."""

    def __call__(
        self, channels: int, upsampling: int, *, contrast: float, brightness: float
    ) -> nn.Module: ...


def _published(channels: int, upsampling: int, *, contrast: float, brightness: float) -> nn.Module:
    """The published four stages."""
    from prp_core.pretext.heads import Decoder

    return Decoder(channels, upsampling, contrast=contrast, brightness=brightness)


def _linear(channels: int, upsampling: int, *, contrast: float, brightness: float) -> nn.Module:
    """One transposed convolution."""
    from prp_core.pretext.heads import LinearDecoder

    return LinearDecoder(channels, upsampling, contrast=contrast, brightness=brightness)


DECODERS: dict[str, BuildDecoder] = {"published": _published, "linear": _linear}


@dataclass(frozen=True)
class SlowMotionTargets:
    """What the decoder's output is compared with; r is the upsampling, T the clip's length.

    `target_BCTHW` (B, 3, rT, H, W) in [0, 1] and `attention_BCTHW` of the same shape (weights, low
    to high) may be read-only views; `supervised_BT` is bool (B, rT).
    """

    target_BCTHW: torch.Tensor
    supervised_BT: torch.Tensor
    attention_BCTHW: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class SlowMotion(PretextTask):
    """Reconstruct the clip at `upsampling` times its frame rate."""

    upsampling: int = 2
    """The reconstruction rate: target frames for each frame of the clip, at least 1."""

    loss_weight: float = 1.0
    """Weight of the squared error in the total loss, at least 0; 0 switches the task off."""

    decoder: str = "published"
    """A key of `DECODERS`: published (four stages) or linear (one transposed convolution: each
    pixel is a weighted sum of the features). In a short training of a small encoder the published
    decoder stays at the mean picture; linear draws the clip, coarsely."""

    initial_contrast: float = 1.0
    """Standard deviation that the decoder's output begins with, above 0. The published 1 draws
    noise five times as strong as the contrast of pictures (about 0.2), which a short training
    spends its steps on; a published training is long enough for it."""

    initial_brightness: float = 0.0
    """Mean that the decoder's output begins with, 0 to 1: the published 0 is black; the mean of
    pictures is about 0.4."""

    attention: AttentionConfig = field(default_factory=AttentionConfig)
    """Weights of the squared error, larger where the span moves."""

    loss_name: ClassVar[str] = "train/reconstruction_loss"

    def __post_init__(self) -> None:
        check(
            self.upsampling >= 1,
            "pretext.slow_motion.upsampling",
            self.upsampling,
            "must be a whole number from 1 up",
        )
        check(
            self.loss_weight >= 0,
            "pretext.slow_motion.loss_weight",
            self.loss_weight,
            "must not be negative",
        )
        check_choice("pretext.slow_motion.decoder", self.decoder, DECODERS)
        check(
            self.initial_contrast > 0,
            "pretext.slow_motion.initial_contrast",
            self.initial_contrast,
            "must be above 0",
        )
        check(
            0 <= self.initial_brightness <= 1,
            "pretext.slow_motion.initial_brightness",
            self.initial_brightness,
            "must lie in 0 to 1",
        )

    def positions(self, clip_length: int, rate: int) -> Iterable[int]:
        """The frames of targets and, where attention is on, of its key frames."""
        return needed_positions(
            clip_length, rate, self.upsampling, with_attention=self.attention.mode != "none"
        )

    def tables(self, spans: SpanRows) -> Tables:
        """Rows of the target frames, of the key frames, and what is interpolated.

        ``before`` (B, rT): the row at or before each target frame. ``mixed`` (M, 4): item, target
        frame, row after it, and how many ``1 / upsampling`` of the way it lies there. ``chunk`` (B,
        rT) indexes ``keys`` (N, 4), the key frames of all chunks of all items.
        """
        tables: Tables = {"before": [], "mixed": [], "supervised": [], "chunk": [], "keys": []}
        length = spans.clip_length
        for item, (sample, row_of) in enumerate(spans):
            frames = target_positions(length, sample.rate, self.upsampling)
            tables["before"].append([row_of[frame.before] for frame in frames])
            tables["supervised"].append([int(frame.supervised) for frame in frames])
            tables["mixed"].extend(
                [item, place, row_of[frame.after], frame.numerator]
                for place, frame in enumerate(frames)
                if frame.numerator
            )
            if self.attention.mode != "none":
                first = len(tables["keys"])
                chunks = chunk_of_output(length, sample.rate, self.upsampling)
                tables["chunk"].append([first + chunk for chunk in chunks])
                tables["keys"].extend(
                    [row_of[position] for position in chunk]
                    for chunk in key_frame_positions(length, sample.rate)
                )
        return tables

    def targets(
        self, frames_NCHW: torch.Tensor, tables: Mapping[str, torch.Tensor]
    ) -> SlowMotionTargets:
        """Target frames, native or interpolated between two, with flags and weights."""
        target_BTCHW = frames_NCHW[tables["before"]]
        if len(tables["mixed"]):
            items, places, after, numerators = tables["mixed"].T
            shares = (numerators / self.upsampling)[:, None, None, None]
            target_BTCHW[items, places] = target_BTCHW[items, places].lerp_(
                frames_NCHW[after], shares
            )
        target_BCTHW = target_BTCHW.transpose(1, 2)
        return SlowMotionTargets(
            target_BCTHW,
            tables["supervised"].bool(),
            self._attention(frames_NCHW, tables, target_BCTHW),
        )

    def _attention(
        self,
        frames_NCHW: torch.Tensor,
        tables: Mapping[str, torch.Tensor],
        target_BCTHW: torch.Tensor,
    ) -> torch.Tensor:
        """Weights of the target's shape, from the key frames of all chunks of all items at once."""
        if self.attention.mode == "none":
            return uniform_attention(target_BCTHW.shape, target_BCTHW.device)
        return attention_from_key_frames(
            frames_NCHW[tables["keys"]],
            tables["chunk"],
            mode=self.attention.mode,
            low=self.attention.low,
            high=self.attention.high,
            published=self.attention.published,
        )

    def head(self, channels: int) -> nn.Module:
        """A decoder to frames (B, 3, rT, H, W)."""
        return DECODERS[self.decoder](
            channels,
            self.upsampling,
            contrast=self.initial_contrast,
            brightness=self.initial_brightness,
        )

    def loss(self, output: torch.Tensor, targets: Any) -> torch.Tensor:
        """See `reconstruction_loss`."""
        return reconstruction_loss(
            output, targets.target_BCTHW, targets.attention_BCTHW, targets.supervised_BT
        )

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The contrast of the reconstruction, as a share of the target's."""
        return ("train/reconstruction_contrast",)

    def metrics(self, output: torch.Tensor, targets: Any) -> torch.Tensor:
        """See `contrast_share`."""
        return contrast_share(output, targets.target_BCTHW)[None]


def contrast_share(output_BCTHW: torch.Tensor, target_BCTHW: torch.Tensor) -> torch.Tensor:
    """Each clip's standard deviation in the output (per channel, then the mean) as a share of that
    in its target, then the mean over clips: float64 (). 0 = each clip is one flat colour, 1 = as
    lively as the target. A target below one grey level counts as one.
    """
    of_output_B, of_target_B = map(_contrast, (output_BCTHW, target_BCTHW))
    return (of_output_B / of_target_B.clamp_min(GREY_LEVEL)).mean()


def _contrast(pictures_BCTHW: torch.Tensor) -> torch.Tensor:
    """Each clip's standard deviation, the mean of its channels: float64 (B,).

    By its definition, in two passes: `torch.std` takes 18 times as long on a CPU.
    """
    import torch

    pictures_BCTHW = pictures_BCTHW.detach()
    if pictures_BCTHW.dtype != torch.float64:
        pictures_BCTHW = pictures_BCTHW.float()
    from_mean_BCTHW = pictures_BCTHW - pictures_BCTHW.mean(dim=(2, 3, 4), keepdim=True)
    return from_mean_BCTHW.square_().mean(dim=(2, 3, 4)).sqrt().double().mean(dim=1)


def reconstruction_loss(
    prediction_BCTHW: torch.Tensor,
    target_BCTHW: torch.Tensor,
    weights_BCTHW: torch.Tensor,
    supervised_BT: torch.Tensor,
) -> torch.Tensor:
    """Weighted squared error: each item's mean over its supervised frames, then the batch's mean.

    So an item with half of its frames supervised weighs as much as any other (method §4.1). Weights
    carry no gradient, and are not normalised; the target's precision is the sum's. Every item has
    at least one supervised frame.
    """
    error = (
        prediction_BCTHW.to(target_BCTHW.dtype) - target_BCTHW
    ).square() * weights_BCTHW.detach()
    error_BT = error.mean(dim=(1, 3, 4)).masked_fill(~supervised_BT, 0.0)
    return (error_BT.sum(dim=1) / supervised_BT.sum(dim=1)).mean()
