"""Colour jitter: brightness, contrast, saturation and hue, as torchvision defines each of them.

The published code of pace prediction (Wang, Jiao and Liu, ECCV 2020) draws one for each frame, with
the ranges that are the defaults here at strength 1, and applies it to 80 % of the frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prp_core.checks import check
from prp_core.randomness import draw_unit

if TYPE_CHECKING:
    import torch

NOTHING = (1.0, 1.0, 1.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class ColourJitter:
    """Multiplies brightness, contrast and saturation and turns the hue, in this order."""

    strength: float = 0.0
    """0 (off) to 1: what the four ranges below are multiplied by."""
    brightness: float = 0.8
    """Brightness is multiplied by a factor of 1 +- this x strength."""
    contrast: float = 0.8
    """The distance from the frame's mean grey is multiplied by a factor of 1 +- this x strength."""
    saturation: float = 0.8
    """The distance from the pixel's own grey is multiplied by a factor of 1 +- this x strength."""
    hue: float = 0.2
    """The hue is turned by up to +- this x strength, in turns of the colour circle (0 to 0.5)."""
    probability: float = 0.8
    """Probability, 0 to 1, that a clip (or frame) is changed at all."""
    per_frame: bool = False
    """Whether each frame of the encoder's input has a draw of its own, or a whole clip has one."""

    def __post_init__(self) -> None:
        for name, limit in {
            "strength": 1.0,
            "brightness": 1.0,
            "contrast": 1.0,
            "saturation": 1.0,
            "hue": 0.5,
            "probability": 1.0,
        }.items():
            value = getattr(self, name)
            path = f"clip.augmentation.colour_jitter.{name}"
            check(0 <= value <= limit, path, value, f"must lie in 0 to {limit:g}")

    @property
    def is_on(self) -> bool:
        """See `Augmentation.is_on`."""
        return self.strength > 0 and self.probability > 0

    def draw(self, *key: int | str) -> tuple[float, ...]:
        """(brightness, contrast, saturation, hue): factors, and turns of the circle."""
        if draw_unit(*key, "chosen") >= self.probability:
            return NOTHING
        ranges = {
            "brightness": self.brightness,
            "contrast": self.contrast,
            "saturation": self.saturation,
            "hue": self.hue,
        }
        changes = [
            (2 * draw_unit(*key, name) - 1) * self.strength * reach
            for name, reach in ranges.items()
        ]
        return (1 + changes[0], 1 + changes[1], 1 + changes[2], changes[3])

    def apply(self, frames_NCHW: torch.Tensor, values_NV: torch.Tensor) -> torch.Tensor:
        """See `Augmentation.apply`; each step is clamped to [0, 1] before the next."""
        from prp_core.data.colour import grey_of, turn_hue

        brightness, contrast, saturation, hue = values_NV[:, :, None, None, None].unbind(1)
        frames_NCHW = (frames_NCHW * brightness).clamp_(0, 1)
        mean_grey_NC11 = grey_of(frames_NCHW).mean(dim=(2, 3), keepdim=True)
        frames_NCHW = mean_grey_NC11.lerp(frames_NCHW, contrast).clamp_(0, 1)
        frames_NCHW = grey_of(frames_NCHW).lerp(frames_NCHW, saturation).clamp_(0, 1)
        return turn_hue(frames_NCHW, hue)
