"""Motion attention: weights of the reconstruction error, larger where the span moves (method §4.2).

A span of `rate` x T native frames is cut into `rate` chunks. Motion is the squared difference
between the four key frames of a chunk, averaged over windows of a quarter of the picture on a 13 x
13 grid. ``dpau`` scales that map to `low` .. `high` for each colour channel; ``gauss`` (method
§4.3) puts one bump on the window that moves most. A chunk's weights hold for all its target frames.
Weights carry no gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prp_core.checks import check, check_choice
from prp_core.data.dilated_sampling import key_frame_positions

if TYPE_CHECKING:  # imported where it computes: whoever reads a config does not pay for it
    import torch

EPSILON = 1e-6
# Windows that differ by less than this share of the largest are equal: float32 cannot tell a
# uniform fade more finely.
FLAT_SHARE = 1e-5

Weigh = Callable[["torch.Tensor", float, float, bool], "torch.Tensor"]
"""From key frames (N, 4, C, H, W), low, high, published to weights (N, C or 1, H, W)."""


@dataclass(frozen=True, kw_only=True)
class AttentionConfig:
    """How the reconstruction error is weighted towards motion."""

    mode: str = "dpau"
    """A key of `ATTENTION_MODES`: dpau, gauss or none."""

    low: float = 0.8
    """The weight where the span moves least, from 0 to `high`."""

    high: float = 2.0
    """The weight where the span moves most."""

    published: bool = False
    """The published code's weights where nothing moves: `high`, or a bump in the corner; else 1."""

    def __post_init__(self) -> None:
        check_choice("pretext.slow_motion.attention.mode", self.mode, ATTENTION_MODES)
        check(
            0 <= self.low <= self.high,
            "pretext.slow_motion.attention.low",
            self.low,
            f"must lie in 0 to attention.high = {self.high}",
        )


def motion_attention(
    span_BCTHW: torch.Tensor,
    *,
    num_output_frames: int,
    mode: str = "dpau",
    low: float = 0.8,
    high: float = 2.0,
    published: bool = False,
    clip_length: int | None = None,
) -> torch.Tensor:
    """Weights ``(B, C, num_output_frames, H, W)`` for the reconstruction of whole spans in [0, 1].

    `clip_length` (default: half of `num_output_frames`) says how long a chunk is; the span is a
    whole number of chunks. `published` is the published code, which gives a channel or clip without
    motion a weight of `high` or a bump in the corner; otherwise what does not move weighs 1. H and
    W are multiples of 16. The result may be a read-only view. Raises `UserError` for an unknown
    mode or lengths that do not fit.
    """
    import torch

    check_choice("motion_attention mode", mode, ATTENTION_MODES)
    clip_length = num_output_frames // 2 if clip_length is None else clip_length
    batch, channels, num_frames, height, width = span_BCTHW.shape
    check(
        clip_length >= 1 and num_frames % clip_length == 0,
        "span frames",
        num_frames,
        f"must be a multiple of the clip length {clip_length}",
    )
    if mode == "none":
        return uniform_attention(
            (batch, channels, num_output_frames, height, width), span_BCTHW.device
        )
    num_chunks = num_frames // clip_length
    keys = torch.tensor(key_frame_positions(clip_length, num_chunks), device=span_BCTHW.device)
    key_frames = span_BCTHW.transpose(1, 2)[:, keys].flatten(0, 1)
    chunk_T = (
        torch.arange(num_output_frames, device=span_BCTHW.device) * num_chunks // num_output_frames
    )
    chunk_BT = torch.arange(batch, device=span_BCTHW.device)[:, None] * num_chunks + chunk_T
    return attention_from_key_frames(
        key_frames, chunk_BT, mode=mode, low=low, high=high, published=published
    )


def attention_from_key_frames(
    keys_NKCHW: torch.Tensor,
    chunk_BT: torch.Tensor,
    *,
    mode: str,
    low: float = 0.8,
    high: float = 2.0,
    published: bool = False,
) -> torch.Tensor:
    """Weights ``(B, C, T, H, W)`` from the key frames of all chunks of a batch.

    Target frame t of item b lies in chunk ``chunk_BT[b, t]`` of the N chunks. `keys_NKCHW` holds
    the key frames of every chunk, of whatever items and rates; `mode` is ``dpau`` or ``gauss``.
    """
    weigh = ATTENTION_MODES[mode]
    assert weigh is not None, mode
    weights_NCHW = weigh(keys_NKCHW.detach().float(), low, high, published)
    if weights_NCHW.shape[1] != keys_NKCHW.shape[2]:
        weights_NCHW = weights_NCHW.expand(-1, keys_NKCHW.shape[2], -1, -1)
    return weights_NCHW[chunk_BT].transpose(1, 2)


def uniform_attention(shape: Sequence[int], device: torch.device) -> torch.Tensor:
    """Weights of 1 (float32) of `shape`: a read-only view of one number."""
    import torch

    return torch.ones((), device=device).expand(*shape)


def window_energy(keys_NKCHW: torch.Tensor) -> torch.Tensor:
    """Mean squared change between consecutive key frames in each window: ``(N, C, 13, 13)``."""
    from torch.nn.functional import avg_pool2d

    height, width = keys_NKCHW.shape[-2:]
    change_NCHW = keys_NKCHW.diff(dim=1).square_().mean(dim=1)
    return avg_pool2d(
        change_NCHW, kernel_size=(height // 4, width // 4), stride=(height // 16, width // 16)
    )


def _is_flat(energy: torch.Tensor, dims: tuple[int, ...]) -> torch.Tensor:
    """Whether all windows along `dims` have the same energy, up to float32's precision."""
    largest = energy.amax(dims, keepdim=True)
    smallest = energy.amin(dims, keepdim=True)
    return largest - smallest <= FLAT_SHARE * largest


def window_weights(
    keys_NKCHW: torch.Tensor, low: float, high: float, published: bool
) -> torch.Tensor:
    """DPAU: each channel's window map, scaled to `low` .. `high` and enlarged: ``(N, C, H, W)``."""
    from torch.nn.functional import interpolate

    energy = window_energy(keys_NKCHW)
    smallest = energy.amin((2, 3), keepdim=True)
    spread = energy.amax((2, 3), keepdim=True) - smallest
    rise = energy - smallest + EPSILON if published else energy - smallest
    weights = low + (high - low) * rise / (spread + EPSILON)
    weights = interpolate(weights, size=keys_NKCHW.shape[-2:], mode="bilinear", align_corners=False)
    unmoved = (spread <= 0).all(dim=1, keepdim=True) if published else _is_flat(energy, (2, 3))
    return weights.masked_fill_(unmoved, 1.0)


def bump_weights(
    keys_NKCHW: torch.Tensor, low: float, high: float, published: bool
) -> torch.Tensor:
    """Gauss: a bump of `high` on the window that moves most, falling to `low`: ``(N, 1, H, W)``."""
    height, width = keys_NKCHW.shape[-2:]
    energy = window_energy(keys_NKCHW).sum(dim=1)
    columns = energy.shape[2]
    # The last of equal windows wins, as published: argmax names the first, so it looks at them from
    # the end.
    last = energy.flatten(1).shape[1] - 1 - energy.flatten(1).flip(1).argmax(dim=1)
    centre_y = (last // columns) * (height // 16) + height // 8
    centre_x = (last % columns) * (width // 16) + width // 8
    bump = (
        _bell(height, centre_y, height // 8)[:, :, None]
        * _bell(width, centre_x, width // 8)[:, None, :]
    )
    smallest = bump.amin((1, 2), keepdim=True)
    largest = bump.amax((1, 2), keepdim=True)
    weights = low + (high - low) * (bump - smallest) / (largest - smallest)
    if not published:
        weights = weights.masked_fill(_is_flat(energy, (1, 2)), 1.0)
    return weights[:, None]


def _bell(length: int, centre_N: torch.Tensor, sigma: int) -> torch.Tensor:
    """exp(-(x - centre)^2 / 2 sigma^2) at the pixels 0 .. length-1: ``(N, length)``."""
    import torch

    pixels = torch.arange(length, device=centre_N.device)
    return torch.exp(-(pixels[None] - centre_N[:, None]).square().float() / (2 * sigma**2))


ATTENTION_MODES: dict[str, Weigh | None] = {
    "dpau": window_weights,
    "gauss": bump_weights,
    "none": None,  # all weights are 1, and no key frames are read
}
