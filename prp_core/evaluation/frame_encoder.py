"""A frame encoder: an encoder with its preprocessing, from the frames of a video to its feature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from prp_core.data.clip_config import ClipConfig
from prp_core.encoders.encoder import Encoder
from prp_core.errors import UserError
from prp_core.evaluation.features import encoder_feature, feature_of_frames, in_evaluation_mode
from prp_core.evaluation.views import ViewsConfig, distinct_positions, view_positions
from prp_core.numerics import strict_float32

TOLERANCE = 1e-3
"""How far a clip's values may lie outside [0, 1]: what resizing by other libraries rounds to."""


class FrameEncoder(nn.Module):
    """`encoder` with the clips that it was trained and measured on.

    `clip` is how frames become clips, `views` are the clips of a video, `rates` the playback rates
    that pretraining told apart, `card` is the metadata that the encoder was stored with. The names
    of its weights are those of the bare encoder.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        clip: ClipConfig,
        views: ViewsConfig,
        rates: Sequence[int],
        card: Any = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.clip = clip
        self.views = views
        self.rates = tuple(rates)
        self.card = card

    @property
    def feature_channels(self) -> int:
        """Channels of the encoder's feature map."""
        return self.encoder.feature_channels

    @property
    def clip_lengths(self) -> tuple[int, ...]:
        """The frames that a clip may have: as in training, or as in evaluation."""
        return tuple(sorted({self.clip.length, self.views.clip_length}))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.encoder.parameters()).device

    def forward(self, clip_BCTHW: torch.Tensor) -> torch.Tensor:
        """``(B, 3, T, crop, crop)`` to ``(B, feature_channels, T/8, crop/16, crop/16)``.

        Raises `UserError` for clips of another type, size or range; `encoder` itself checks
        nothing.
        """
        self.check_clip(clip_BCTHW)
        return self.encoder(clip_BCTHW)

    def check_clip(self, clip_BCTHW: torch.Tensor) -> None:
        """Raise `UserError` unless the clips are of the weights' type, and of the size and range
        that it was trained on.
        """
        crop, lengths = self.clip.crop, self.clip_lengths
        wanted = f"(B, 3, {' or '.join(map(str, lengths))}, {crop}, {crop})"
        dtype = next(self.encoder.parameters()).dtype
        kind = clip_BCTHW.dtype if isinstance(clip_BCTHW, torch.Tensor) else type(clip_BCTHW)
        if kind != dtype:
            raise UserError(
                f"The clips are {kind}; give {dtype} clips in [0, 1] of shape {wanted}, "
                "or the uint8 frames of a video to `feature`"
            )
        size = tuple(clip_BCTHW.shape)
        if len(size) != 5 or size[1] != 3 or size[2] not in lengths or size[3:] != (crop, crop):
            raise UserError(
                f"The clips have shape {size}; this encoder was trained and measured on clips of "
                f"shape {wanted}: resize frames to {self.clip.resize_height} x "
                f"{self.clip.resize_width} and crop the centre, or give them to `feature`"
            )
        if not clip_BCTHW.numel():
            return
        low, high = (float(value) for value in clip_BCTHW.detach().aminmax())
        if not (low >= -TOLERANCE and high <= 1 + TOLERANCE):  # also where one is not a number
            raise UserError(
                f"The clips' values lie in [{low:g}, {high:g}]; this encoder was trained on "
                "[0, 1]: divide 8-bit frames by 255, and subtract no mean"
            )

    @torch.no_grad()
    def feature(self, frames_NHWC: torch.Tensor | np.ndarray) -> torch.Tensor:
        """The retrieval feature (D,) of a whole video, float32 on the CPU, as evaluation has it.

        `frames_NHWC` are all frames of the video in order, uint8 RGB (N, H, W, 3) of any size. They
        are resized, cropped and cut into ``views.num_clips`` clips as in every evaluation. Raises
        `UserError` for an array of another type or shape.
        """
        frames = torch.as_tensor(frames_NHWC)
        size = tuple(frames.shape)
        if frames.dtype != torch.uint8 or len(size) != 4 or size[3] != 3 or 0 in size:
            raise UserError(
                f"The frames are {frames.dtype} of shape {size}; give the RGB frames of one video "
                "as uint8, shape (frames, height, width, 3)"
            )
        positions = distinct_positions(view_positions(len(frames), self.views))
        with in_evaluation_mode(self.encoder), strict_float32():
            return feature_of_frames(
                encoder_feature(self.encoder),
                frames[list(positions)],
                len(frames),
                self.clip,
                self.views,
                self.device,
            ).cpu()

    def state_dict(  # type: ignore[override]
        self, *arguments: Any, **named: Any
    ) -> dict[str, Any]:
        """The weights by the names of the bare encoder."""
        return self.encoder.state_dict(*arguments, **named)

    def load_state_dict(self, *arguments: Any, **named: Any) -> Any:
        """Take weights with the names of the bare encoder."""
        return self.encoder.load_state_dict(*arguments, **named)
