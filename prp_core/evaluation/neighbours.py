"""The nearest neighbours of a few queries, by name: retrieval looked at video by video."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from prp_core.evaluation.downstream import EvaluatedConfig, EvaluationVideos, extract_both
from prp_core.evaluation.features import FeatureTable
from prp_core.evaluation.intervals import Interval, share_interval
from prp_core.evaluation.retrieval import hits_at_k, nearest_with_similarity
from prp_core.world import World

NUM_NEIGHBOURS = 5


@dataclass(frozen=True)
class Neighbour:
    """A gallery video with its cosine similarity (-1 to 1) to a query.

    `is_correct`: it has the query's class.
    """

    key: str
    label: str
    similarity: float
    is_correct: bool


@dataclass(frozen=True)
class QueryNeighbours:
    """A query with its neighbours, nearest first."""

    key: str
    label: str
    neighbours: tuple[Neighbour, ...]

    @property
    def is_correct(self) -> bool:
        """Whether the nearest one has the query's class: what recall at 1 counts."""
        return self.neighbours[0].is_correct


@dataclass(frozen=True)
class RetrievalExamples:
    """The neighbours of the `shown` queries, and `recall_at_1` of all `num_queries` queries.

    Its `interval` is over groups of queries (None: there are too few).

    `unreadable_queries` and `unreadable_gallery` are (key, reason) of the videos that could not be
    read; they are neither queries nor neighbours.
    """

    shown: tuple[QueryNeighbours, ...]
    recall_at_1: float
    num_queries: int
    num_gallery: int
    unreadable_queries: tuple[tuple[str, str], ...]
    unreadable_gallery: tuple[tuple[str, str], ...]
    interval: Interval | None = None


def find_neighbours(
    encoder: nn.Module,
    config: EvaluatedConfig,
    videos: EvaluationVideos,
    world: World,
    *,
    shown: Sequence[str],
) -> RetrievalExamples:
    """The neighbours of the queries whose keys are in `shown`, from features of both parts.

    Where no video has a class, those of a query's first third among the last thirds of all videos:
    right is its own. The features are those of every evaluation; the result is the same on every
    worker. Raises as `extract_both` does.
    """
    gallery, queries = extract_both(encoder, config, videos, world)
    if not videos.has_classes:
        gallery, queries = by_key(gallery, queries)
    hits = hits_at_k(gallery, queries, (1,))[1].double()
    return RetrievalExamples(
        shown=neighbours_of(gallery, queries, shown),
        recall_at_1=hits.mean().item(),
        num_queries=len(queries),
        num_gallery=len(gallery),
        unreadable_queries=queries.broken,
        unreadable_gallery=gallery.broken,
        interval=share_interval(hits.tolist(), queries.groups),
    )


def by_key(gallery: FeatureTable, queries: FeatureTable) -> tuple[FeatureTable, FeatureTable]:
    """(the last thirds of all videos, the first thirds of the queries), each of a class of its own,
    which its key names.
    """
    assert gallery.windows_N2D is not None and queries.windows_N2D is not None
    last_ND = torch.cat([gallery.windows_N2D[:, 1], queries.windows_N2D[:, 1]])
    keys = (*gallery.keys, *queries.keys)
    groups = (*gallery.groups, *queries.groups)
    return FeatureTable(last_ND, keys, keys, groups, gallery.broken), FeatureTable(
        queries.windows_N2D[:, 0], queries.keys, queries.keys, queries.groups, queries.broken
    )


def neighbours_of(
    gallery: FeatureTable, queries: FeatureTable, shown: Collection[str]
) -> tuple[QueryNeighbours, ...]:
    """The neighbours of each query of `shown` that has features, in the order of `shown`."""
    row_of = {key: row for row, key in enumerate(queries.keys)}
    rows, similarities = (
        tensor.tolist() for tensor in nearest_with_similarity(gallery, queries, NUM_NEIGHBOURS)
    )
    return tuple(
        _query_neighbours(gallery, queries, query, rows[query], similarities[query])
        for query in (row_of[key] for key in shown if key in row_of)
    )


def _query_neighbours(
    gallery: FeatureTable,
    queries: FeatureTable,
    query: int,
    rows: Sequence[int],
    similarities: Sequence[float],
) -> QueryNeighbours:
    label = queries.labels[query]
    found = (
        Neighbour(gallery.keys[row], gallery.labels[row], similarity, gallery.labels[row] == label)
        for row, similarity in zip(rows, similarities, strict=True)
    )
    return QueryNeighbours(queries.keys[query], label, tuple(found))
