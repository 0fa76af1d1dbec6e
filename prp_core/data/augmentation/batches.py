"""Augmentations applied to the frames of a whole batch at once, on their device.

What is drawn at random is drawn before, on the CPU, and travels with the batch's other numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from prp_core.data.augmentation import AugmentationConfig

Key = tuple[int | str, ...]
Draws = dict[str, list[tuple[float, ...]]]
"""The drawn values by augmentation, a row for each frame."""


def draw_for_spans(
    num_frames: Sequence[int], keys: Sequence[Key], config: AugmentationConfig
) -> Draws:
    """What changes whole clips: span b has one draw for its key, for its ``num_frames[b]`` rows."""
    return {
        name: [
            values
            for key, count in zip(keys, num_frames, strict=True)
            for values in [augmentation.draw(*key, name)] * count
        ]
        for name, augmentation in config.of_pixels(per_frame=False)
    }


def draw_for_inputs(keys: Sequence[Key], length: int, config: AugmentationConfig) -> Draws:
    """What changes frames of the encoder's input alone: a draw for each clip's key and frame."""
    return {
        name: [augmentation.draw(*key, name, t) for key in keys for t in range(length)]
        for name, augmentation in config.of_pixels(per_frame=True)
    }


def augment_frames(
    frames_NCHW: torch.Tensor,
    draws_NV: Mapping[str, torch.Tensor],
    config: AugmentationConfig,
    *,
    per_frame: bool,
) -> torch.Tensor:
    """Frame n changed as row n of each augmentation's draws says (of the kind `per_frame`)."""
    for name, augmentation in config.of_pixels(per_frame=per_frame):
        frames_NCHW = augmentation.apply(frames_NCHW, draws_NV[name].to(frames_NCHW.dtype))
    return frames_NCHW
