"""Feature health: whether features have collapsed, which a low pretext loss does not rule out."""

from __future__ import annotations

import torch
from torch.nn.functional import normalize

from prp_core.evaluation.features import FeatureTable

MAX_ROWS = 1024


def feature_health(table: FeatureTable) -> dict[str, float]:
    """``feature/effective_rank`` and ``feature/spread``, over at most 1024 evenly chosen videos.

    Effective rank: exp of the entropy of the normalised singular values of the centred features; 1
    = all on a line, at most min(videos - 1, D). Spread: root mean square distance of the
    unit-length features from their mean; 0 = all the same, at most 1. What the rounding of float32
    makes of equal features counts as equal.
    """
    step = -(-len(table) // MAX_ROWS)
    unit_ND = normalize(table.features_ND[::step].double())
    centred_ND = unit_ND - unit_ND.mean(dim=0)
    spread = centred_ND.square().sum(dim=1).mean().sqrt().item()
    return {"feature/effective_rank": effective_rank(centred_ND), "feature/spread": spread}


def effective_rank(centred_ND: torch.Tensor) -> float:
    """exp of the entropy of the singular values' shares; 0 for features that are all the same, but
    for the rounding of unit-length rows in float32.
    """
    gram = (
        centred_ND @ centred_ND.T
        if len(centred_ND) <= centred_ND.shape[1]
        else centred_ND.T @ centred_ND
    )
    singular = torch.linalg.eigvalsh(gram).clamp_min(0).sqrt()
    # what rounding leaves of directions that are not there
    rounding = 4 * torch.finfo(torch.float32).eps * len(centred_ND) ** 0.5
    singular = singular[singular > rounding]
    if len(singular) == 0:
        return 0.0
    share = singular / singular.sum()
    return float((-(share * share.log()).sum()).exp())
