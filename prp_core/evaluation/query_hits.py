"""Which queries an evaluation hit, one by one: what a recall at k is the share of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prp_core.evaluation.label_free import own_ranks
from prp_core.evaluation.retrieval import hits_at_k

if TYPE_CHECKING:
    from prp_core.evaluation.features import FeatureTable

RECALL = "/recall_at_"


def query_hits(metric: str, gallery: FeatureTable, queries: FeatureTable) -> dict[str, bool]:
    """Whether each of `queries` counts in `metric`, by its key; their share is the metric.

    `metric` is ``retrieval/recall_at_<k>`` or ``label_free/recall_at_<k>``.
    """
    evaluation, _, k = metric.partition(RECALL)
    assert evaluation in ("retrieval", "label_free") and k.isdigit(), metric
    if evaluation == "retrieval":
        hits = [bool(hit) for hit in hits_at_k(gallery, queries, (int(k),))[int(k)].tolist()]
    else:
        hits = [rank < int(k) for rank in own_ranks(gallery, queries)]
    return dict(zip(queries.keys, hits, strict=True))
