"""A video strip: a few small frames of a video, cropped as every evaluation sees it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from prp_core.data.clip_config import ClipConfig
from prp_core.data.dilated_sampling import spread_frames
from prp_core.data.frame_source import FrameSource
from prp_core.data.manifest import VideoRecord
from prp_core.data.transforms import resize_and_centre_crop, thumbnails

NUM_FRAMES = 4
THUMBNAIL_PIXELS = 64


@dataclass(frozen=True)
class VideoStrip:
    """Frames of a video for a page.

    `frames_NHWC` (uint8, RGB, at most `THUMBNAIL_PIXELS` square) lie at `positions` of a video of
    `num_frames` frames.
    """

    frames_NHWC: np.ndarray
    positions: tuple[int, ...]
    num_frames: int


@torch.no_grad()
def video_strip(record: VideoRecord, source: FrameSource, clip: ClipConfig) -> VideoStrip:
    """`NUM_FRAMES` frames evenly over a video, first and last among them; raises `BrokenVideo`."""
    positions = spread_frames(record.num_frames, NUM_FRAMES)
    frames_NCHW = resize_and_centre_crop(source.frames(record, positions), clip)
    return VideoStrip(thumbnails(frames_NCHW, THUMBNAIL_PIXELS), positions, record.num_frames)
