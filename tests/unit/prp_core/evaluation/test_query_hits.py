"""A recall is the share of the queries that hit, whichever recall it is."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from prp_core.evaluation.label_free import LabelFree
from prp_core.evaluation.query_hits import query_hits
from prp_core.evaluation.retrieval import Retrieval
from tests.unit.prp_core.evaluation.test_label_free import CPU, table


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("kind", [Retrieval, LabelFree])
def test_the_share_of_the_hits_is_the_metric(kind: type[Retrieval | LabelFree], k: int) -> None:
    first, noise = torch.randn(2, 21, 5, generator=torch.Generator().manual_seed(3))
    gallery, queries = (
        replace(one, labels=tuple(f"class {row % 3}" for row in range(len(one))))
        for one in (
            table(first[:9], first[:9] + noise[:9], "g"),
            table(first[9:], first[9:] + noise[9:], "q"),
        )
    )
    name = "retrieval" if kind is Retrieval else "label_free"
    hits = query_hits(f"{name}/recall_at_{k}", gallery, queries)
    assert tuple(hits) == queries.keys and 0 < sum(hits.values()) < len(hits)
    metrics = kind(ks="1-3").metrics(gallery, queries, CPU)
    assert sum(hits.values()) / len(hits) == metrics[f"{name}/recall_at_{k}"]
