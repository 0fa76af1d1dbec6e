"""The formula clip and the key-free weights behind the method's published numbers."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from prp_core.data.dilated_sampling import TargetFrame, input_positions, target_positions
from prp_core.data.spans import SpanSample


def formula_span(num_frames: int, size: int = 112) -> torch.Tensor:
    """Two sine waves and a travelling blob, float32 (1, 3, num_frames, size, size); values may
    leave [0, 1]. Lengths scale with `size`.
    """
    scale = 112 / size
    c, t, h, w = np.ogrid[0:3, 0:num_frames, 0:size, 0:size]
    h, w = h * scale, w * scale
    centre_y, centre_x = 56 + 30 * np.sin(0.11 * t), 56 + 30 * np.cos(0.07 * t)
    waves = 0.5 + 0.2 * np.sin(0.11 * t * (c + 1) + 0.05 * h + 0.07 * w)
    blob = 0.3 * np.exp(-((h - centre_y) ** 2 + (w - centre_x) ** 2) / 162)
    return torch.from_numpy((waves + blob).astype(np.float32))[None]


def formula_sample(
    rate: int, positions: tuple[int, ...], *, size: int, label: int = 0, index: int = 0
) -> SpanSample:
    """The formula clip as the loader would hand it over: uint8 frames at `positions`."""
    frames = formula_span(max(positions) + 1, size)[0, :, list(positions)].clamp(0, 1)
    frames_NHWC = (frames * 255).round().to(torch.uint8).permute(1, 2, 3, 0).contiguous()
    return SpanSample(
        frames_NHWC, positions, rate, label, video_index=index, start=0, epoch=0, index=index
    )


def clip_of_span(span_BCTHW: torch.Tensor, rate: int, clip_length: int = 16) -> torch.Tensor:
    """Every `rate`-th frame."""
    return span_BCTHW[:, :, list(input_positions(clip_length, rate))]


def target_of_span(
    span_BCTHW: torch.Tensor, rate: int, clip_length: int = 16, upsampling: int = 2
) -> tuple[torch.Tensor, torch.Tensor]:
    """Target frames and their flags (B, T), one frame at a time."""

    def one(frame: TargetFrame) -> torch.Tensor:
        share = frame.numerator / upsampling
        return span_BCTHW[:, :, frame.before] * (1 - share) + span_BCTHW[:, :, frame.after] * share

    frames = target_positions(clip_length, rate, upsampling)
    return torch.stack([one(frame) for frame in frames], dim=2), torch.tensor(
        [[frame.supervised for frame in frames]]
    )


def mix(i: np.ndarray) -> np.ndarray:
    """The murmur3 finaliser on 32-bit numbers."""
    h = i.astype(np.uint32)
    h ^= h >> np.uint32(16)
    h *= np.uint32(0x85EBCA6B)
    h ^= h >> np.uint32(13)
    h *= np.uint32(0xC2B2AE35)
    return h ^ (h >> np.uint32(16))


@torch.no_grad()
def fill_key_free(network: nn.Module) -> None:
    """Set every convolution and linear weight by its flat index alone; biases 0, norms as they are
    born.
    """
    for module in network.modules():
        if isinstance(module, (nn.Conv3d, nn.ConvTranspose3d, nn.Linear)):
            weight = module.weight
            fan = weight.shape[0] if isinstance(module, nn.ConvTranspose3d) else weight[0].numel()
            uniform = 2 * (mix(np.arange(1, weight.numel() + 1)).astype(np.float64) / 2**32) - 1
            weight.copy_(
                torch.from_numpy(math.sqrt(2 / fan) * math.sqrt(3) * uniform).reshape(weight.shape)
            )
            if module.bias is not None:
                module.bias.zero_()
