"""Retrieval: is a video's nearest neighbour in feature space of its own class (method §6.2)?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from prp_core.checks import check
from prp_core.evaluation.evaluation import FeatureEvaluation

if TYPE_CHECKING:  # a config is read where torch is not loaded
    import torch

    from prp_core.evaluation.features import FeatureTable

QUERIES_AT_ONCE = 256


def k_list(ks: str) -> tuple[int, ...] | None:
    """The numbers of ``1-5-10``, ascending; None for what is no such text, or lacks 1."""
    parts = ks.split("-")
    if "1" not in parts or not all(part.isdigit() and int(part) >= 1 for part in parts):
        return None
    return tuple(sorted(map(int, parts)))


@dataclass(frozen=True, kw_only=True)
class Retrieval(FeatureEvaluation):
    """Nearest neighbours by cosine; recall at 1 is the objective of a sweep."""

    ks: str = "1-5-10-20-50"
    """The k of each recall at k, joined by '-'; 1 is among them."""

    at_every_rung: ClassVar[bool] = True
    needs_classes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check(
            k_list(self.ks) is not None,
            "evaluation.retrieval.ks",
            self.ks,
            "write whole numbers joined by '-', with 1 among them, for example '1-5-10-20-50'",
        )

    @property
    def k_list(self) -> tuple[int, ...]:
        """The ks as numbers, ascending."""
        return k_list(self.ks) or (1,)

    def metrics(
        self, gallery: FeatureTable, queries: FeatureTable, device: torch.device
    ) -> dict[str, float]:
        """``retrieval/recall_at_<k>``, their intervals, and the counts behind them.

        ``retrieval/recall_at_<k>_low`` and ``_high`` bound each with 95 % confidence over groups of
        queries (`share_interval`); where there are too few groups they are absent.
        """
        from prp_core.evaluation.intervals import share_metrics

        hits = hits_at_k(gallery, queries, self.k_list)
        with_bounds: dict[str, float] = {}
        for k, (name, share) in zip(self.k_list, recalls(hits).items(), strict=True):
            values = hits[k].double().tolist()
            with_bounds |= share_metrics(name, values, queries.groups, share=share)
        return {
            **with_bounds,
            "retrieval/num_gallery": float(len(gallery)),
            "retrieval/num_queries": float(len(queries)),
            "retrieval/num_broken": float(len(gallery.broken) + len(queries.broken)),
        }

    def facts(self) -> dict[str, object]:
        """The distance; a recall names its own k."""
        return {"distance": "cosine"}


def nearest(gallery: FeatureTable, queries: FeatureTable, num_nearest: int) -> torch.Tensor:
    """The rows of each query's nearest gallery videos by cosine, nearest first.

    (queries, min(num_nearest, gallery)) int64. Features are neither centred nor standardised.
    Equally near videos keep the gallery's order, so the answer is reproducible.
    """
    return nearest_with_similarity(gallery, queries, num_nearest)[0]


def nearest_with_similarity(
    gallery: FeatureTable, queries: FeatureTable, num_nearest: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """`nearest`, and the cosine (-1 to 1) of each: two tensors of one shape."""
    import torch
    from torch.nn.functional import normalize

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
    """For each k, whether one of a query's k nearest videos has its class: (queries,) bool.

    A k beyond the gallery's size looks at the whole gallery.
    """
    import torch

    class_of = {
        label: number for number, label in enumerate(sorted({*gallery.labels, *queries.labels}))
    }
    gallery_classes = torch.tensor([class_of[label] for label in gallery.labels])
    query_classes = torch.tensor([class_of[label] for label in queries.labels])
    same_QK = gallery_classes[nearest(gallery, queries, max(ks))] == query_classes[:, None]
    return {k: same_QK[:, :k].any(dim=1) for k in ks}


def recalls(hits: Mapping[int, torch.Tensor]) -> dict[str, float]:
    """``retrieval/recall_at_<k>``: the share of queries that hit, of all that have features."""
    return {f"retrieval/recall_at_{k}": hits_Q.double().mean().item() for k, hits_Q in hits.items()}


def recall_at_k(
    gallery: FeatureTable, queries: FeatureTable, ks: Sequence[int]
) -> dict[str, float]:
    """See `recalls`."""
    return recalls(hits_at_k(gallery, queries, ks))
