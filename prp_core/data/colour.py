"""Colour conversions of whole batches on their device: YUV planes to RGB, RGB to grey, hue."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import interpolate

# The weights of red and blue in luma (ITU-R BT.601, BT.709); green's is what is left of 1.
RED_AND_BLUE = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}


@dataclass(frozen=True)
class PlanarFrames:
    """Frames as 8-bit 4:2:0 planes, uint8 (N, H * 3 / 2, W).

    The tensor form of `readers.video_reader.YuvPlanes`, where the layout is described.
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
        """(N, H, W, 3), the shape of the RGB frames."""
        count, rows, width = self.planes_NHW.shape
        return count, rows * 2 // 3, width, 3

    @property
    def kind(self) -> tuple[str, bool]:
        """(matrix, full range): frames of one kind and size can be converted together."""
        return self.matrix, self.full_range


Frames = torch.Tensor | PlanarFrames


def rgb_from_planes(frames: PlanarFrames) -> torch.Tensor:
    """uint8 (N, H, W, 3), RGB, on the planes' device.

    Each value of U and V is repeated for its four pixels, as FFmpeg's converter does.
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


def grey_of(frames_NCHW: torch.Tensor) -> torch.Tensor:
    """The BT.601 luma of float RGB frames, for each of the channels alike: (N, 3, H, W)."""
    red, blue = RED_AND_BLUE["bt601"]
    red_NHW, green_NHW, blue_NHW = frames_NCHW.unbind(1)
    grey_NHW = red * red_NHW + (1 - red - blue) * green_NHW + blue * blue_NHW
    return grey_NHW[:, None].expand_as(frames_NCHW)


def turn_hue(frames_NCHW: torch.Tensor, turns_N111: torch.Tensor) -> torch.Tensor:
    """Float RGB frames in [0, 1] with the hue (HSV) of frame n turned by `turns_N111` of a circle.

    Saturation and value stay; where the turn is 0 the frame stays equal to the bit.
    """
    red, green, blue = frames_NCHW.unbind(1)
    value_NHW = frames_NCHW.amax(dim=1)
    chroma_NHW = value_NHW - frames_NCHW.amin(dim=1)
    divisor_NHW = torch.where(chroma_NHW > 0, chroma_NHW, 1.0)
    sixths_NHW = torch.where(
        value_NHW == red,
        (green - blue) / divisor_NHW,
        torch.where(
            value_NHW == green,
            (blue - red) / divisor_NHW + 2,
            (red - green) / divisor_NHW + 4,
        ),
    )
    sixths_NHW = sixths_NHW + 6 * turns_N111[:, 0]
    # A channel is lower than the value by the chroma, times a trapezium over the six sixths.
    channels = []
    for sixth in (5, 3, 1):
        place_NHW = (sixths_NHW + sixth).remainder(6)
        below_NHW = torch.minimum(place_NHW, 4 - place_NHW).clamp_(0, 1)
        channels.append(value_NHW - chroma_NHW * below_NHW)
    return torch.where(turns_N111 == 0, frames_NCHW, torch.stack(channels, dim=1).clamp_(0, 1))
