"""Retrieval and feature health against slow transcriptions, and properties of a metric."""

from __future__ import annotations

import math

import pytest
import torch

from prp_core.evaluation.feature_health import feature_health
from prp_core.evaluation.features import FeatureTable, in_evaluation_mode, retrieval_feature
from prp_core.evaluation.retrieval import hits_at_k, nearest, recall_at_k


def table(features_ND: torch.Tensor, labels: str | list[str]) -> FeatureTable:
    keys = tuple(f"video-{number}" for number in range(len(features_ND)))
    return FeatureTable(features_ND, tuple(labels), keys, keys)


def drawn_table(num: int, seed: int, num_classes: int = 5) -> FeatureTable:
    generator = torch.Generator().manual_seed(seed)
    labels = [f"class-{int(n)}" for n in torch.randint(num_classes, (num,), generator=generator)]
    return table(torch.randn(num, 12, generator=generator), labels)


def literal_recall(gallery: FeatureTable, queries: FeatureTable, k: int) -> float:
    """Method §6.2, points 5 and 6, word by word: cosine distance, ascending; a hit if any of the k
    nearest has the class.
    """
    hits = 0
    for query, label in zip(queries.features_ND.tolist(), queries.labels, strict=True):
        distances = []
        for row, other in enumerate(gallery.features_ND.tolist()):
            dot = sum(a * b for a, b in zip(query, other, strict=True))
            lengths = math.sqrt(sum(a * a for a in query)) * math.sqrt(sum(b * b for b in other))
            distances.append((1 - dot / lengths, row))
        hits += any(gallery.labels[row] == label for _, row in sorted(distances)[:k])
    return hits / len(queries)


def test_recall_is_the_literal_one() -> None:
    gallery, queries = drawn_table(30, 0), drawn_table(300, 1)
    metrics = recall_at_k(gallery, queries, (1, 5, 10))
    assert metrics == {
        f"retrieval/recall_at_{k}": pytest.approx(literal_recall(gallery, queries, k))
        for k in (1, 5, 10)
    }
    assert (
        metrics["retrieval/recall_at_1"]
        < metrics["retrieval/recall_at_5"]
        < metrics["retrieval/recall_at_10"]
    )


def test_more_queries_at_once_change_nothing() -> None:
    gallery, queries = drawn_table(20, 2), drawn_table(600, 3)
    one_by_one = [
        nearest(gallery, table(queries.features_ND[n : n + 1], [queries.labels[n]]), 4)
        for n in range(600)
    ]
    assert torch.equal(nearest(gallery, queries, 4), torch.cat(one_by_one))


def test_a_k_beyond_the_gallery_looks_at_all_of_it() -> None:
    gallery = table(torch.eye(3), "abc")
    queries = table(torch.eye(3), "cad")
    assert recall_at_k(gallery, queries, (1, 50)) == {
        "retrieval/recall_at_1": 0.0,
        "retrieval/recall_at_50": pytest.approx(2 / 3),
    }


def test_length_does_not_count_and_direction_does() -> None:
    gallery = table(torch.tensor([[1.0, 0.1], [0.1, 1.0], [-1.0, 0.0]]), "abc")
    queries = table(torch.tensor([[100.0, 0.0], [0.0, 0.001], [-3.0, -0.1]]), "abc")
    assert recall_at_k(gallery, queries, (1,)) == {"retrieval/recall_at_1": 1.0}
    assert nearest(gallery, queries, 3).tolist() == [[0, 1, 2], [1, 0, 2], [2, 1, 0]]


def test_equally_near_videos_keep_the_gallery_order() -> None:
    collapsed = table(torch.ones(6, 4), "bacabc")
    assert nearest(collapsed, collapsed, 6).tolist() == [[0, 1, 2, 3, 4, 5]] * 6
    assert hits_at_k(collapsed, collapsed, (1,))[1].tolist() == [
        True,
        False,
        False,
        False,
        True,
        False,
    ]


def test_retrieval_feature_drops_the_odd_row_and_keeps_the_order() -> None:
    features_BCTHW = torch.randn(2, 4, 2, 7, 7, generator=torch.Generator().manual_seed(0))
    feature = retrieval_feature(features_BCTHW)
    assert feature.shape == (2, 4 * 2 * 3 * 3)
    expected = [
        features_BCTHW[1, c, t, 2 * h : 2 * h + 2, 2 * w : 2 * w + 2].max().item()
        for c in range(4)
        for t in range(2)
        for h in range(3)
        for w in range(3)
    ]
    assert feature[1].tolist() == expected


@pytest.mark.parametrize(
    ("height", "width", "length"), [(1, 1, 1), (1, 5, 2), (2, 1, 1), (3, 2, 1), (2, 2, 1)]
)
def test_small_maps_are_pooled_as_far_as_they_go(height: int, width: int, length: int) -> None:
    assert retrieval_feature(torch.zeros(3, 5, 2, height, width)).shape == (3, 5 * 2 * length)


def test_health_of_features_that_differ_and_of_those_that_do_not() -> None:
    generator = torch.Generator().manual_seed(0)
    wide = feature_health(table(torch.randn(400, 20, generator=generator), ["a"] * 400))
    assert 18 < wide["feature/effective_rank"] <= 20 and 0.99 < wide["feature/spread"] <= 1
    line = feature_health(table(torch.tensor([[1.0, 0.0], [0.0, 1.0]] * 10), ["a"] * 20))
    assert line["feature/effective_rank"] == pytest.approx(1.0) and line[
        "feature/spread"
    ] == pytest.approx(math.sqrt(0.5))
    collapsed = feature_health(table(torch.ones(50, 8), ["a"] * 50))
    assert collapsed == {
        "feature/effective_rank": 0.0,
        "feature/spread": pytest.approx(0.0, abs=1e-6),
    }


def test_health_is_the_literal_one_and_bounded_in_size() -> None:
    features_ND = torch.randn(3000, 6, generator=torch.Generator().manual_seed(1)) * torch.tensor(
        [5.0, 1, 1, 0.5, 0.1, 0.1]
    )
    unit_ND = features_ND[::3].double() / features_ND[::3].double().norm(dim=1, keepdim=True)
    singular = torch.linalg.svdvals(unit_ND - unit_ND.mean(dim=0))
    share = singular / singular.sum()
    health = feature_health(table(features_ND, ["a"] * 3000))
    assert health["feature/effective_rank"] == pytest.approx(
        math.exp(-(share * share.log()).sum().item())
    )


def test_evaluation_mode_gives_each_module_its_own_mode_back() -> None:
    network = torch.nn.Sequential(torch.nn.BatchNorm3d(2), torch.nn.Dropout(), torch.nn.ReLU())
    network[0].eval()
    with pytest.raises(RuntimeError, match="inside"), in_evaluation_mode(network):
        assert not any(module.training for module in network.modules())
        raise RuntimeError("inside")
    assert [module.training for module in network.modules()] == [True, False, True, True]
