"""JPEG encoding and decoding: libjpeg-turbo (simplejpeg) on a CPU, nvJPEG (torchvision) on a GPU.

Both libraries are imported when they are first used, because `prp_core` imports where neither is
installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch

from prp_core.errors import UserError

SUBSAMPLING = "420"  # as in cameras and in the originals


@cache
def _simplejpeg() -> Any:
    try:
        import simplejpeg
    except ModuleNotFoundError:
        raise UserError(
            "JPEG shards need the package simplejpeg; install it (pip install simplejpeg) "
            "or train from the original videos"
        ) from None
    return simplejpeg


def encode_jpegs(frames_NHWC: np.ndarray, quality: int) -> list[bytes]:
    """One JPEG for each frame of uint8 (N, H, W, 3), RGB; the same bytes for the same frames."""
    encode = _simplejpeg().encode_jpeg
    return [
        encode(frame_HWC, quality=quality, colorspace="RGB", colorsubsampling=SUBSAMPLING)
        for frame_HWC in np.ascontiguousarray(frames_NHWC)
    ]


def decode_jpegs(
    jpegs: Sequence[bytes | memoryview], height: int, width: int, device: torch.device
) -> torch.Tensor:
    """The pictures as uint8 (N, `height`, `width`, 3), RGB, on `device`.

    A GPU decodes them in one batch; its pixels may differ from the CPU's by a few grey levels.
    Raises `ValueError` for what is no such JPEG.
    """
    if device.type == "cuda":
        return _decode_on_gpu(jpegs, height, width, device)
    decode = _simplejpeg().decode_jpeg
    frames_NHWC = np.empty((len(jpegs), height, width, 3), dtype=np.uint8)
    for frame_HWC, jpeg in zip(frames_NHWC, jpegs, strict=True):
        decode(jpeg, colorspace="RGB", buffer=frame_HWC)
    return torch.from_numpy(frames_NHWC)


def _decode_on_gpu(
    jpegs: Sequence[bytes | memoryview], height: int, width: int, device: torch.device
) -> torch.Tensor:
    from torchvision.io import ImageReadMode, decode_jpeg

    encoded = [torch.frombuffer(bytearray(jpeg), dtype=torch.uint8) for jpeg in jpegs]
    try:
        pictures_CHW = decode_jpeg(encoded, mode=ImageReadMode.RGB, device=device)
    except RuntimeError as error:
        raise ValueError(str(error).splitlines()[0]) from error
    if any(picture.shape != (3, height, width) for picture in pictures_CHW):
        raise ValueError(f"a picture is not {height} x {width}")
    return torch.stack(pictures_CHW).permute(0, 2, 3, 1)
