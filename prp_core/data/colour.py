"""From the planes that a decoder gives to RGB, for whole batches, on the device where they lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import interpolate

# The weights of red and blue in luma (ITU-R BT.601, BT.709); green has the rest.
RED_AND_BLUE = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}


@dataclass(frozen=True)
class PlanarFrames:
    """Frames as 8-bit 4:2:0: see `readers.video_reader.YuvPlanes`, of which this is the tensor,
    uint8 (N, H * 3 / 2, W).
    """

    planes_NHW: torch.Tensor
    matrix: str
    full_range: bool

    def __post_init__(self) -> None:
        assert self.matrix in RED_AND_BLUE and self.planes_NHW.dtype == torch.uint8, (
            self.matrix,
            self.planes_NHW.dtype,
        )
        assert (
            self.planes_NHW.ndim == 3
            and self.planes_NHW.shape[1] % 3 == 0
            and self.planes_NHW.shape[2] % 2 == 0
        ), self.planes_NHW.shape

    def __len__(self) -> int:
        return len(self.planes_NHW)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, H, W, 3): that of the RGB frames."""
        count, rows, width = self.planes_NHW.shape
        return count, rows * 2 // 3, width, 3

    @property
    def kind(self) -> tuple[str, bool]:
        """Frames of one kind and one size can be converted together."""
        return self.matrix, self.full_range


Frames = torch.Tensor | PlanarFrames


def kind_of(frames: Frames) -> tuple[object, ...]:
    """What must be equal for frames to be joined: their kind of colour and their picture size."""
    return (frames.kind if isinstance(frames, PlanarFrames) else None, tuple(frames.shape[1:]))


def to_device(frames: Sequence[Frames], device: torch.device) -> torch.Tensor:
    """The frames of several samples, equal by `kind_of`, as RGB on `device`: uint8 (N, H, W, 3)."""
    first = frames[0]
    together = torch.cat(
        [part.planes_NHW if isinstance(part, PlanarFrames) else part for part in frames]
    )
    if device.type == "cuda":
        together = together.pin_memory()
    together = together.to(device, non_blocking=True)
    return (
        rgb_from_planes(PlanarFrames(together, *first.kind))
        if isinstance(first, PlanarFrames)
        else together
    )


def rgb_from_planes(frames: PlanarFrames) -> torch.Tensor:
    """uint8 (N, H, W, 3), RGB, on the planes' device; each value of U and V stands for its four
    pixels, as FFmpeg's converter has it.
    """
    count, height, width, _ = frames.shape
    luma = frames.planes_NHW[:, :height].float()
    chroma_NCHW = (
        frames.planes_NHW[:, height:].reshape(count, 2, height // 2, width // 2).float().sub_(128)
    )
    u, v = interpolate(chroma_NCHW, scale_factor=2, mode="nearest").unbind(1)
    red, blue = RED_AND_BLUE[frames.matrix]
    green = 1 - red - blue
    if not frames.full_range:
        luma = luma.sub_(16).mul_(255 / 219)
        u = u * (255 / 224)
        v = v * (255 / 224)
    from_v = 2 * (1 - red)
    from_u = 2 * (1 - blue)
    channels = [
        luma + from_v * v,
        luma - (red * from_v / green) * v - (blue * from_u / green) * u,
        luma + from_u * u,
    ]
    return torch.stack(channels, dim=-1).round_().clamp_(0, 255).to(torch.uint8)
