"""Frames of a size that can be carried: large pictures are resized as they come from the decoder.

Training and evaluation see the same pixels either way. What is resized lies in the memory that the
decode process wrote; a read that its memory does not hold at once is resized part by part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from prp_core.data.clip_config import ClipConfig
from prp_core.data.colour import Frames, PlanarFrames, rgb_from_planes
from prp_core.data.decode_limits import FrameShape, frames_of_a_reply
from prp_core.data.frame_source import FrameSource
from prp_core.data.loader_config import LoaderConfig
from prp_core.data.manifest import VideoRecord
from prp_core.data.transforms import resize_to_uint8

Read = Callable[[VideoRecord, Sequence[int]], Frames]


def carried_frames(
    source: FrameSource, record: VideoRecord, positions: Sequence[int], clip: ClipConfig
) -> torch.Tensor:
    """The frames at `positions` of a video, at the clip's size if they are too large to be carried.

    uint8 (N, H, W, 3). Raises as `FrameSource.frames` does.
    """
    frames, _ = read_carried(source.frames, record, positions, clip, source.loader)
    assert isinstance(frames, torch.Tensor)
    return frames


def read_carried(
    read: Read,
    record: VideoRecord,
    positions: Sequence[int],
    clip: ClipConfig,
    loader: LoaderConfig,
) -> tuple[Frames, bool]:
    """(the frames that `read` returns, whether they were resized): see `carried_frames`."""
    shape = FrameShape(record.height, record.width)
    if not 0 < loader.max_carried_pixels < shape.pixels:
        return _shrunk(read(record, positions), clip, loader)
    step = frames_of_a_reply(shape, loader.decode_memory_bytes)
    parts = [
        _shrunk(read(record, positions[begin : begin + step]), clip, loader)
        for begin in range(0, len(positions), step)
    ]
    if len(parts) == 1:
        return parts[0]
    frames = [part for part, _ in parts if isinstance(part, torch.Tensor)]
    assert len(frames) == len(parts), "larger than what is carried, so resized to RGB"
    return torch.cat(frames), parts[0][1]


def _shrunk(frames: Frames, clip: ClipConfig, loader: LoaderConfig) -> tuple[Frames, bool]:
    limit = loader.max_carried_pixels
    if not limit or frames.shape[1] * frames.shape[2] <= limit:
        return frames, False
    frames_NHWC = rgb_from_planes(frames) if isinstance(frames, PlanarFrames) else frames
    return resize_to_uint8(frames_NHWC, clip.resize_height, clip.resize_width), True
