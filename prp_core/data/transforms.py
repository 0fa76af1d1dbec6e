"""Resize, crop and flip of whole batches of frames, on their device.

The published code resizes with PIL: bilinear, antialiased, rounded to 8 bits. The results here
differ from PIL's by at most one grey level.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import interpolate

from prp_core.data.clip_config import ClipConfig
from prp_core.data.colour import Frames
from prp_core.data.transfer import PackedFrames, Region, Taken, allocate_for, pack_frames
from prp_core.randomness import draw_below, draw_unit


def resize_antialiased(frames_NHWC: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """uint8 frames (N, H, W, 3) -> float32 (N, 3, `height`, `width`) in [0, 1].

    Rounded to 8 bits as PIL rounds. The aspect ratio is not kept.
    """
    assert frames_NHWC.dtype == torch.uint8 and frames_NHWC.ndim == 4, (
        frames_NHWC.dtype,
        frames_NHWC.shape,
    )
    frames_NCHW = frames_NHWC.permute(0, 3, 1, 2)
    if frames_NCHW.shape[-2:] == (height, width):
        return _in_unit_range(frames_NHWC)
    # On a CPU the 8-bit kernel over channels-last frames is about 25 times faster than float's.
    source = frames_NCHW if frames_NCHW.device.type == "cpu" else frames_NCHW.float()
    resized = interpolate(
        source, size=(height, width), mode="bilinear", antialias=True, align_corners=False
    )
    return resized.float().round_().div_(255)


def _in_unit_range(frames_NHWC: torch.Tensor) -> torch.Tensor:
    return frames_NHWC.permute(0, 3, 1, 2).float().div_(255)


def resize_to_uint8(frames_NHWC: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """uint8 frames (N, H, W, 3) -> uint8 (N, `height`, `width`, 3), as `resize_antialiased`.

    For whoever stores frames at the training size: resizing them again changes nothing.
    """
    if frames_NHWC.shape[1:3] == (height, width):
        return frames_NHWC
    return to_uint8(resize_antialiased(frames_NHWC, height, width))


def to_uint8(frames_NCHW: torch.Tensor) -> torch.Tensor:
    """float frames (N, 3, H, W) in [0, 1] -> uint8 (N, H, W, 3), rounded to the nearest level."""
    return frames_NCHW.mul(255).round_().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def centre_offsets(height: int, width: int, crop: int) -> tuple[int, int]:
    """(top, left) of the centre crop; (8, 30) for 112 of 128 x 171, as published."""
    return round((height - crop) / 2), round((width - crop) / 2)


def random_offsets(height: int, width: int, crop: int, *key: int | str) -> tuple[int, int]:
    """(top, left) of a crop drawn uniformly for `key`; one draw serves all frames of a clip."""
    return draw_below(height - crop + 1, *key, "top"), draw_below(width - crop + 1, *key, "left")


def crop_offsets(clip: ClipConfig, *key: int | str) -> tuple[int, int]:
    """(top, left) of a training clip's crop: drawn for `key` if `clip.random_crop`, or centred."""
    if clip.random_crop:
        return random_offsets(clip.resize_height, clip.resize_width, clip.crop, *key)
    return centre_offsets(clip.resize_height, clip.resize_width, clip.crop)


def draws_flip(clip: ClipConfig, *key: int | str) -> bool:
    """Whether the clip of `key` is mirrored."""
    return draw_unit(*key, "flip") < clip.flip_probability


def crop_frames(
    frames_NCHW: torch.Tensor, crop: int, top: int, left: int, *, flip: bool = False
) -> torch.Tensor:
    """The square of `crop` pixels at (`top`, `left`), mirrored if `flip`; a view if not."""
    cropped_NCHW = frames_NCHW[..., top : top + crop, left : left + crop]
    assert cropped_NCHW.shape[-2:] == (crop, crop), (frames_NCHW.shape, crop, top, left)
    return cropped_NCHW.flip(-1) if flip else cropped_NCHW


@dataclass(frozen=True)
class Placement:
    """Where a sample's frames are cropped, and whether they are mirrored."""

    top: int
    left: int
    flip: bool


def pack_crops(
    frames: Sequence[Frames],
    placements: Sequence[Placement],
    clip: ClipConfig,
    device: torch.device,
) -> PackedFrames:
    """The frames of several samples for `cropped_pieces`, of each sample as little as it needs, in
    memory from which `device` copies best.

    Frames of the training size are cropped while they are copied, which leaves 57 % of the
    published size's bytes. Of RGB frames that a GPU resizes, the rectangle is copied on which the
    crop depends; a CPU, to which nothing is copied, resizes them whole.
    """
    return pack_frames(
        [
            _taken(sample, place, clip, device)
            for sample, place in zip(frames, placements, strict=True)
        ],
        allocate_for(device),
    )


def _taken(sample: Frames, place: Placement, clip: ClipConfig, device: torch.device) -> Taken:
    if not isinstance(sample, torch.Tensor):
        return Taken(sample)
    if sample.shape[1:3] == (clip.resize_height, clip.resize_width):
        bottom, right = place.top + clip.crop, place.left + clip.crop
        return Taken(sample[:, place.top : bottom, place.left : right], cropped=True)
    if device.type == "cpu" or sample.device.type != "cpu":
        return Taken(sample)
    region = needed_region(place, clip, sample.shape[1], sample.shape[2])
    rows, columns = region.rows_and_columns
    return Taken(sample[:, rows, columns], region=region)


def needed_region(place: Placement, clip: ClipConfig, height: int, width: int) -> Region:
    """The part of frames of `height` x `width` pixels that the crop at `place` of the resized
    frames depends on.
    """
    top, bottom = _needed_pixels(place.top, clip.crop, clip.resize_height, height)
    left, right = _needed_pixels(place.left, clip.crop, clip.resize_width, width)
    return Region(top, left, bottom, right, (height, width))


def _needed_pixels(first: int, count: int, resized: int, size: int) -> tuple[int, int]:
    """(first, after the last) of the `size` pixels on which `count` of the `resized` ones depend.

    An antialiased bilinear pixel reads as far as the scale on both sides of its centre; one pixel
    more allows for rounding.
    """
    scale = size / resized
    reach = max(scale, 1.0) + 1
    begin = math.floor(scale * (first + 0.5) - reach)
    end = math.ceil(scale * (first + count - 0.5) + reach)
    return max(0, begin), min(size, end)


def cropped_pieces(
    frames: PackedFrames, placements: Sequence[Placement], clip: ClipConfig
) -> list[torch.Tensor]:
    """The frames of each sample, resized and cropped: float32 (N, 3, crop, crop) in [0, 1].

    `frames` are those of `pack_crops`. Neighbours that are alike are resized together.
    """
    pieces = []
    left = iter(placements)
    for group_NHWC, counts, is_cropped in frames.groups():
        size = clip.resize_height, clip.resize_width
        group_NCHW = (
            _in_unit_range(group_NHWC) if is_cropped else resize_antialiased(group_NHWC, *size)
        )
        for frames_NCHW in group_NCHW.split(counts):
            place = next(left)
            top, side = (0, 0) if is_cropped else (place.top, place.left)
            pieces.append(crop_frames(frames_NCHW, clip.crop, top, side, flip=place.flip))
    assert next(left, None) is None, len(placements)
    return pieces


def centre_placement(clip: ClipConfig) -> Placement:
    """Where every evaluation crops."""
    return Placement(*centre_offsets(clip.resize_height, clip.resize_width, clip.crop), flip=False)


def resize_and_centre_crop(frames_NHWC: torch.Tensor, clip: ClipConfig) -> torch.Tensor:
    """The preprocessing of every evaluation: uint8 (N, H, W, 3) -> float32 (N, 3, crop, crop)."""
    frames_NCHW = resize_antialiased(frames_NHWC, clip.resize_height, clip.resize_width)
    return crop_frames(
        frames_NCHW, clip.crop, *centre_offsets(clip.resize_height, clip.resize_width, clip.crop)
    )


def thumbnails(frames_NCHW: torch.Tensor, size: int) -> np.ndarray:
    """Square pictures (N, 3, crop, crop) as uint8 (N, `size`, `size`, 3) on the CPU, antialiased.

    Values beyond 0 to 1 are clipped. Pictures of `size` pixels or fewer keep their own size.
    """
    if frames_NCHW.shape[-1] > size:
        frames_NCHW = interpolate(
            frames_NCHW, size=(size, size), mode="bilinear", antialias=True, align_corners=False
        )
    pictures: np.ndarray = to_uint8(frames_NCHW.clamp(0, 1)).cpu().numpy()
    return pictures
