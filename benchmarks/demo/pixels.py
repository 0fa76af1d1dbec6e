"""Features without a network, each of which an encoder has to beat: pictures and motion energy."""

from __future__ import annotations

import torch

from prp_core.evaluation.baselines import PIXEL_BASELINES
from prp_core.evaluation.features import Describe, FeatureTable
from prp_core.evaluation.retrieval import hits_at_k

LAGS = (1, 2, 8)
LEAST_ENERGY = 1e-6
MOTION_ENERGY = "motion_energy"


def motion_energy(clips_BCTHW: torch.Tensor) -> torch.Tensor:
    """(B, lags): the logarithm of the mean absolute difference of frames 1, 2 and 8 apart.

    Three numbers that say how fast things move; where classes are speeds they nearly suffice.
    """
    energies = [
        (clips_BCTHW[:, :, lag:] - clips_BCTHW[:, :, :-lag]).abs().mean(dim=(1, 2, 3, 4))
        for lag in LAGS
    ]
    return torch.stack(energies, dim=1).clamp_min(LEAST_ENERGY).log()


def first_frame(clips_BCTHW: torch.Tensor) -> torch.Tensor:
    """The first frame of each clip, which holds looks alone."""
    return clips_BCTHW[:, :, 0]


PIXELS: dict[str, Describe] = {
    "first_frame": first_frame,
    **PIXEL_BASELINES,
    MOTION_ENERGY: motion_energy,
}
"""The mean frame has some motion in it, as blur."""


def hits_of_pixels(name: str, gallery: FeatureTable, queries: FeatureTable) -> list[float]:
    """For each query 1.0 when its nearest gallery video has its class, else 0.0.

    Pictures are compared by cosine, as encoders' features are; motion energies, whose size is
    arbitrary, by their distance after standardising.
    """
    if name != MOTION_ENERGY:
        return [float(hit) for hit in hits_at_k(gallery, queries, (1,))[1].tolist()]
    mean_D = gallery.features_ND.mean(dim=0)
    deviation_D = gallery.features_ND.std(dim=0).clamp_min(LEAST_ENERGY)
    searched, asked = ((table.features_ND - mean_D) / deviation_D for table in (gallery, queries))
    nearest = torch.cdist(asked, searched).argmin(dim=1).tolist()
    return [
        float(gallery.labels[row] == label)
        for row, label in zip(nearest, queries.labels, strict=True)
    ]
