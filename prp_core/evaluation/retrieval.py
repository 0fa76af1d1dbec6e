"""Retrieval: does a video's nearest neighbour in feature space show the same class (method
§6.2).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.functional import normalize

from prp_core.evaluation.features import FeatureTable

QUERIES_AT_ONCE = 256


def nearest(gallery: FeatureTable, queries: FeatureTable, num_nearest: int) -> torch.Tensor:
    """For each query the rows of its nearest gallery videos by cosine, nearest first: (queries,
    min(num_nearest, gallery)) int64.

    Features are neither centred nor standardised. Equally near videos keep the gallery's order, so
    the answer is reproducible.
    """
    return nearest_with_similarity(gallery, queries, num_nearest)[0]


def nearest_with_similarity(
    gallery: FeatureTable, queries: FeatureTable, num_nearest: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """`nearest`, and the cosine (-1 to 1) of each: two tensors of one shape."""
    gallery_GD = normalize(gallery.features_ND)
    similarities = []
    rows = []
    for queries_QD in queries.features_ND.split(QUERIES_AT_ONCE):
        ranked = (normalize(queries_QD) @ gallery_GD.T).sort(dim=1, descending=True, stable=True)
        similarities.append(ranked.values[:, :num_nearest])
        rows.append(ranked.indices[:, :num_nearest])
    return torch.cat(rows), torch.cat(similarities)


def hits_at_k(
    gallery: FeatureTable, queries: FeatureTable, ks: Sequence[int]
) -> dict[int, torch.Tensor]:
    """For each k whether any of a query's k nearest gallery videos has its class: (queries,) bool.

    A k beyond the gallery's size looks at the whole gallery.
    """
    class_of = {
        label: number for number, label in enumerate(sorted({*gallery.labels, *queries.labels}))
    }
    gallery_classes = torch.tensor([class_of[label] for label in gallery.labels])
    query_classes = torch.tensor([class_of[label] for label in queries.labels])
    same_QK = gallery_classes[nearest(gallery, queries, max(ks))] == query_classes[:, None]
    return {k: same_QK[:, :k].any(dim=1) for k in ks}


def recall_at_k(
    gallery: FeatureTable, queries: FeatureTable, ks: Sequence[int]
) -> dict[str, float]:
    """``retrieval/recall_at_<k>``: the share of queries that hit, of all queries that have a
    feature.
    """
    return {
        f"retrieval/recall_at_{k}": hits.double().mean().item()
        for k, hits in hits_at_k(gallery, queries, ks).items()
    }
