"""Gaussian blur: hides compression artefacts, which differ between frames near and far apart.

SpeedNet (Benaim et al., CVPR 2020) augments its frames too, against cues that are no motion; this
blur is not its recipe.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prp_core.checks import check
from prp_core.randomness import draw_unit

if TYPE_CHECKING:
    import torch

SMALLEST_SIGMA = 1e-3  # at which the weight of a neighbour is 0 in float32


@dataclass(frozen=True, kw_only=True)
class Blur:
    """Smooths a picture with a Gaussian whose standard deviation is drawn from 0 to `max_sigma`."""

    probability: float = 0.0
    """Probability, 0 (off) to 1, that a clip (or frame) is blurred."""
    max_sigma: float = 1.0
    """Largest standard deviation, in pixels of the crop."""
    per_frame: bool = False
    """Whether each frame of the encoder's input has a draw of its own, or a whole clip has one."""

    def __post_init__(self) -> None:
        path = "clip.augmentation.blur"
        check(
            0 <= self.probability <= 1,
            f"{path}.probability",
            self.probability,
            "must lie in 0 to 1",
        )
        check(self.max_sigma >= 0, f"{path}.max_sigma", self.max_sigma, "must not be negative")

    @property
    def is_on(self) -> bool:
        """See `Augmentation.is_on`."""
        return self.probability > 0 and self.max_sigma > 0

    def draw(self, *key: int | str) -> tuple[float, ...]:
        """(sigma in pixels,); 0 for as it is."""
        if draw_unit(*key, "chosen") >= self.probability:
            return (0.0,)
        return (self.max_sigma * draw_unit(*key, "sigma"),)

    def apply(self, frames_NCHW: torch.Tensor, values_NV: torch.Tensor) -> torch.Tensor:
        """See `Augmentation.apply`; at the border the weights inside the picture are normalised."""
        height, width = frames_NCHW.shape[-2:]
        down_N1HH = _weights(values_NV, height)[:, None]
        across_N1WW = _weights(values_NV, width)[:, None]
        blurred_NCHW = (down_N1HH @ frames_NCHW @ across_N1WW.mT).clamp_(0, 1)
        return frames_NCHW.where(values_NV[:, :, None, None] == 0, blurred_NCHW)


def _weights(sigma_N1: torch.Tensor, size: int) -> torch.Tensor:
    """(N, size, size): row i holds the weights of all pixels of a line in the blurred pixel i."""
    import torch

    place = torch.arange(size, device=sigma_N1.device, dtype=sigma_N1.dtype)
    distance = place[:, None] - place
    sigma_N11 = sigma_N1[:, :, None].clamp_min(SMALLEST_SIGMA)
    weights_NSS = (-0.5 * (distance / sigma_N11).square()).exp()
    return weights_NSS / weights_NSS.sum(dim=-1, keepdim=True)
