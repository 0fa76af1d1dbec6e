"""Resizing as PIL does it, and the published crop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from prp_core.data.clip_config import ClipConfig
from prp_core.data.transforms import (
    centre_offsets,
    crop_frames,
    crop_offsets,
    draws_flip,
    random_offsets,
    resize_and_centre_crop,
    resize_antialiased,
)


@pytest.mark.parametrize("size", [(240, 320), (90, 100), (128, 171), (301, 77), (128, 300)])
def test_resize_is_pil_within_one_grey_level(size: tuple[int, int]) -> None:
    frames_NHWC = torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (3, *size, 3), dtype=np.uint8)
    )
    resized_NCHW = resize_antialiased(frames_NHWC, 128, 171)
    pil = np.stack(
        [
            np.asarray(Image.fromarray(frame.numpy()).resize((171, 128), Image.Resampling.BILINEAR))
            for frame in frames_NHWC
        ]
    )
    assert resized_NCHW.shape == (3, 3, 128, 171) and resized_NCHW.dtype == torch.float32
    assert (resized_NCHW.permute(0, 2, 3, 1) * 255 - torch.from_numpy(pil)).abs().max() <= 1.001
    assert resized_NCHW.min() >= 0 and resized_NCHW.max() <= 1


def test_resizing_twice_changes_nothing() -> None:
    frames_NHWC = torch.randint(
        0, 256, (2, 240, 320, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    once_NCHW = resize_antialiased(frames_NHWC, 128, 171)
    again = (once_NCHW * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    assert torch.equal(resize_antialiased(again, 128, 171), once_NCHW)


def test_the_published_crop() -> None:
    assert centre_offsets(128, 171, 112) == (8, 30)
    frames_NCHW = torch.arange(128 * 171, dtype=torch.float32).reshape(1, 1, 128, 171)
    cropped = crop_frames(frames_NCHW, 112, 8, 30)
    assert cropped.shape == (1, 1, 112, 112) and cropped[0, 0, 0, 0] == 8 * 171 + 30
    assert torch.equal(crop_frames(frames_NCHW, 112, 8, 30, flip=True), cropped.flip(-1))
    frames_NHWC = torch.randint(0, 256, (2, 128, 171, 3), dtype=torch.uint8)
    view_NCHW = resize_and_centre_crop(frames_NHWC, ClipConfig())
    assert torch.equal(view_NCHW, frames_NHWC.permute(0, 3, 1, 2)[..., 8:120, 30:142].float() / 255)


def test_random_crops_and_flips_are_functions_of_their_key() -> None:
    draws = {random_offsets(128, 171, 112, 7, number) for number in range(400)}
    assert (
        {top for top, _ in draws} == set(range(17))
        and {left for _, left in draws} <= set(range(60))
        and len(draws) > 250
    )
    assert random_offsets(128, 171, 112, 7, 3) == random_offsets(128, 171, 112, 7, 3)
    assert crop_offsets(ClipConfig(), 1, 2) == (8, 30)
    assert crop_offsets(ClipConfig(random_crop=True), 1, 2) == random_offsets(128, 171, 112, 1, 2)
    flips = [draws_flip(ClipConfig(flip_probability=0.5), number) for number in range(400)]
    assert 150 < sum(flips) < 250 and not any(
        draws_flip(ClipConfig(), number) for number in range(20)
    )
