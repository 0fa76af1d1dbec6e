"""Greyscale: a clip without colour, so that no colour that fades or flickers tells the rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prp_core.checks import check
from prp_core.randomness import draw_unit

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class Greyscale:
    """Replaces the three channels by their BT.601 luma."""

    probability: float = 0.0
    """Probability, 0 (off) to 1, that a clip (or frame) is grey."""
    per_frame: bool = False
    """Whether each frame of the encoder's input has a draw of its own, or a whole clip has one."""

    def __post_init__(self) -> None:
        path = "clip.augmentation.greyscale.probability"
        check(0 <= self.probability <= 1, path, self.probability, "must lie in 0 to 1")

    @property
    def is_on(self) -> bool:
        """See `Augmentation.is_on`."""
        return self.probability > 0

    def draw(self, *key: int | str) -> tuple[float, ...]:
        """(1.0,) for grey, (0.0,) for as it is."""
        return (float(draw_unit(*key) < self.probability),)

    def apply(self, frames_NCHW: torch.Tensor, values_NV: torch.Tensor) -> torch.Tensor:
        """See `Augmentation.apply`."""
        from prp_core.data.colour import grey_of

        is_grey_N111 = values_NV[:, :, None, None] > 0
        return grey_of(frames_NCHW).where(is_grey_N111, frames_NCHW)
