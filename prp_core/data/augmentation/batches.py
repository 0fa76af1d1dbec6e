"""Augmentations applied to the frames of a whole batch at once, on their device."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from prp_core.data.augmentation import AugmentationConfig

Key = tuple[int | str, ...]


def augment_spans(
    frames_NCHW: torch.Tensor,
    num_frames: Sequence[int],
    keys: Sequence[Key],
    config: AugmentationConfig,
) -> torch.Tensor:
    """The frames of several spans, each span changed as drawn once for its key.

    `frames_NCHW` holds ``num_frames[b]`` frames of span b after those of the spans before it.
    """
    for name, augmentation in config.of_pixels(per_frame=False):
        values_BV = _on_device([augmentation.draw(*key, name) for key in keys], frames_NCHW)
        counts_B = torch.tensor(num_frames, device=frames_NCHW.device)
        frames_NCHW = augmentation.apply(frames_NCHW, values_BV.repeat_interleave(counts_B, dim=0))
    return frames_NCHW


def augment_inputs(
    clip_BTCHW: torch.Tensor, keys: Sequence[Key], config: AugmentationConfig
) -> torch.Tensor:
    """The encoder's input (B, T, 3, H, W), each frame changed as drawn for its clip's key and t."""
    batch, length = clip_BTCHW.shape[:2]
    for name, augmentation in config.of_pixels(per_frame=True):
        draws = [augmentation.draw(*key, name, t) for key in keys for t in range(length)]
        frames_NCHW = clip_BTCHW.flatten(0, 1)
        changed_NCHW = augmentation.apply(frames_NCHW, _on_device(draws, frames_NCHW))
        clip_BTCHW = changed_NCHW.unflatten(0, (batch, length))
    return clip_BTCHW


def _on_device(draws: Sequence[tuple[float, ...]], frames_NCHW: torch.Tensor) -> torch.Tensor:
    return torch.tensor(draws, dtype=frames_NCHW.dtype, device=frames_NCHW.device)
