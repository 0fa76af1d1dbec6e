"""Loading as the paper does: OpenCV from frame 0, PIL's resize, the motion mask on the CPU."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from prp_core.pretext.motion_attention import motion_attention

HEIGHT = 128
WIDTH = 171
CROP = 112
TOP = 8
LEFT = 30


def load(path: Path, start: int, clip_length: int, rate: int) -> tuple[np.ndarray, torch.Tensor]:
    """(the whole span resized, uint8 (span, 128, 171, 3); its mask)."""
    video = cv2.VideoCapture(str(path))
    images = []
    for number in range(start + clip_length * rate):
        good, image_HWC = video.read()
        assert good, f"{path}: frame {number}"
        if number >= start:
            images.append(Image.fromarray(cv2.cvtColor(image_HWC, cv2.COLOR_BGR2RGB)))
    video.release()
    span_NHWC = np.stack(
        [np.asarray(image.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)) for image in images]
    )
    cropped = (
        torch.from_numpy(span_NHWC[:, TOP : TOP + CROP, LEFT : LEFT + CROP])
        .permute(3, 0, 1, 2)
        .float()
        .div_(255)
    )
    return span_NHWC, motion_attention(cropped[None], num_output_frames=2 * clip_length)
