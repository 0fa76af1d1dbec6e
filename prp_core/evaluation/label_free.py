"""Label-free retrieval: does a video's first third find its own last third among other videos?

For corpora without classes. It measures whether features tell videos apart at other times; of
classes, and so of what retrieval with labels measures, it says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from prp_core.checks import check
from prp_core.evaluation.evaluation import FeatureEvaluation
from prp_core.evaluation.retrieval import k_list

if TYPE_CHECKING:  # a config is read where torch is not loaded
    import torch

    from prp_core.evaluation.features import FeatureTable

QUERIES_AT_ONCE = 256


@dataclass(frozen=True, kw_only=True)
class LabelFree(FeatureEvaluation):
    """Retrieval of the same video from a window at another time; needs no class.

    A query is the mean feature of the clips in the first third of a query video, and its one
    right answer that of its last third, among the last thirds of all query and gallery videos.
    """

    ks: str = "1-5"
    """The k of each recall at k, joined by '-'; 1 is among them."""

    at_every_rung: ClassVar[bool] = True
    needs_classes: ClassVar[bool] = False

    def __post_init__(self) -> None:
        ok = k_list(self.ks) is not None
        rule = "write whole numbers joined by '-', with 1 among them, for example '1-5'"
        check(ok, "evaluation.label_free.ks", self.ks, rule)

    def metrics(
        self, gallery: FeatureTable, queries: FeatureTable, device: torch.device
    ) -> dict[str, float]:
        """``label_free/recall_at_<k>``, their bounds as `Retrieval.metrics` has them, and
        ``label_free/effective_rank``: RankMe (Garrido et al. 2023), the exponential of the entropy
        of the singular values' shares, of the queries' features, from 1 to their number.
        """
        from prp_core.evaluation.intervals import share_metrics

        ranks = own_ranks(gallery, queries)
        ks = k_list(self.ks) or (1,)
        hits = {k: [rank < k for rank in ranks] for k in ks}
        found: dict[str, float] = {}
        for k, hits_Q in hits.items():
            name, share = f"label_free/recall_at_{k}", sum(hits_Q) / len(hits_Q)
            found |= share_metrics(name, list(map(float, hits_Q)), queries.groups, share=share)
        return {
            **found,
            "label_free/effective_rank": rank_me(queries),
            "label_free/num_gallery": float(len(gallery) + len(queries)),
            "label_free/num_queries": float(len(queries)),
            "label_free/num_broken": float(len(gallery.broken) + len(queries.broken)),
        }

    def facts(self) -> dict[str, object]:
        """The distance, and which windows are compared; a recall names its own k."""
        return {"distance": "cosine", "windows": "first third, last third"}


def own_ranks(gallery: FeatureTable, queries: FeatureTable) -> list[int]:
    """For each query the number of windows that are nearer to its first third, by cosine, than its
    own last third is; equally near ones count as nearer, so that features that are all the same
    find nothing.
    """
    import torch
    from torch.nn.functional import normalize

    first_QD, own_QD = _windows(queries)
    answers_GD = normalize(torch.cat([own_QD, _windows(gallery)[1]]))
    first_QD = normalize(first_QD)
    ranks: list[int] = []
    for start in range(0, len(first_QD), QUERIES_AT_ONCE):
        similarity_QG = first_QD[start : start + QUERIES_AT_ONCE] @ answers_GD.T
        rows = torch.arange(len(similarity_QG))
        own_Q1 = similarity_QG[rows, start + rows, None]
        ranks += ((similarity_QG >= own_Q1).sum(dim=1) - 1).tolist()
    return ranks


def own_hits(gallery: FeatureTable, queries: FeatureTable) -> list[bool]:
    """Whether each query's nearest window is its own: what ``label_free/recall_at_1`` counts."""
    return [rank == 0 for rank in own_ranks(gallery, queries)]


def rank_me(table: FeatureTable) -> float:
    """The effective rank of the unit-length features of `table` (not centred)."""
    from torch.nn.functional import normalize

    from prp_core.evaluation.feature_health import MAX_ROWS, effective_rank

    step = -(-len(table) // MAX_ROWS)
    return effective_rank(normalize(table.features_ND[::step].double()))


def _windows(table: FeatureTable) -> Sequence[torch.Tensor]:
    assert table.windows_N2D is not None, "features without windows: extract them with windows"
    return table.windows_N2D.unbind(dim=1)
