"""Label-free retrieval: a video's first third finds its last third, by features and not by rank."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from prp_core.evaluation.features import FeatureTable
from prp_core.evaluation.label_free import LabelFree, own_hits, own_ranks
from prp_core.evaluation.neighbours import by_key, neighbours_of
from prp_core.evaluation.views import ViewsConfig, window_positions

CPU = torch.device("cpu")


def table(first_ND: torch.Tensor, last_ND: torch.Tensor, name: str) -> FeatureTable:
    """Videos without a class, each its own scene."""
    keys = tuple(f"{name}{row}" for row in range(len(first_ND)))
    windows = torch.stack([first_ND, last_ND], dim=1)
    return FeatureTable((first_ND + last_ND) / 2, ("",) * len(keys), keys, keys, (), windows)


def test_the_rank_of_a_videos_own_window_against_a_loop() -> None:
    generator = torch.Generator().manual_seed(3)
    gallery = table(*torch.randn(2, 9, 5, generator=generator), "g")
    first, noise = torch.randn(2, 12, 5, generator=generator)
    queries = table(first, first + noise, "q")
    answers = [*(first + noise), *gallery.windows_N2D[:, 1]]  # type: ignore[index]
    slow = []
    for row, query in enumerate(first):
        nearness = [torch.cosine_similarity(query, one, dim=0).item() for one in answers]
        slow.append(sum(one > nearness[row] + 1e-7 for one in nearness))
    assert own_ranks(gallery, queries) == slow and 0 in slow and max(slow) > 0
    metrics = LabelFree(ks="1-3").metrics(gallery, queries, CPU)
    assert metrics["label_free/recall_at_1"] == slow.count(0) / 12
    assert metrics["label_free/recall_at_3"] == sum(rank < 3 for rank in slow) / 12
    assert metrics["label_free/num_gallery"] == 21 and metrics["label_free/num_queries"] == 12
    assert metrics["label_free/recall_at_1_low"] < metrics["label_free/recall_at_1"]


def test_features_that_are_all_the_same_find_nothing_and_have_rank_one() -> None:
    same = table(torch.ones(10, 4), torch.ones(10, 4), "q")
    metrics = LabelFree().metrics(replace(same, keys=tuple("abcdefghij")), same, CPU)
    assert metrics["label_free/recall_at_1"] == 0.0 and own_hits(same, same) == [False] * 10
    assert metrics["label_free/effective_rank"] == pytest.approx(1.0)
    apart = table(torch.eye(10), torch.eye(10), "q")
    assert LabelFree().metrics(same_size(apart), apart, CPU)[
        "label_free/effective_rank"
    ] == pytest.approx(10.0)


def same_size(one: FeatureTable) -> FeatureTable:
    """A gallery of the same features turned around, which is nobody's own."""
    assert one.windows_N2D is not None
    return replace(one, windows_N2D=-one.windows_N2D)


@pytest.mark.parametrize("num_frames", [2, 3, 17, 48, 100])
def test_the_two_windows_share_no_frame_and_leave_a_third_between_them(num_frames: int) -> None:
    first, last = window_positions(num_frames, ViewsConfig(num_clips=10, clip_length=16))
    assert len(first) == len(last) == 5 and {len(clip) for clip in (*first, *last)} == {16}
    early, late = ({frame for clip in clips for frame in clip} for clips in (first, last))
    assert max(late) == num_frames - 1 and min(early) == 0
    assert min(late) - max(early) >= max(1, math.floor(num_frames / 3))


def test_the_neighbours_that_a_showcase_shows_are_last_thirds_and_right_is_the_own_one() -> None:
    queries = table(torch.eye(3), torch.eye(3)[[0, 2, 1]], "q")
    gallery = table(torch.zeros(2, 3), torch.ones(2, 3), "g")
    searched, asked = by_key(gallery, queries)
    shown = neighbours_of(searched, asked, ("q0", "q1"))
    assert [one.neighbours[0].key for one in shown] == ["q0", "q2"]
    assert [one.is_correct for one in shown] == [True, False]
    assert len(searched) == 5
