"""The nearest neighbours of a few queries, by name: retrieval looked at video by video."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from torch import nn

from prp_core.data.clip_config import ClipConfig
from prp_core.data.frame_source import FrameSource
from prp_core.data.manifest import VideoRecord
from prp_core.evaluation.downstream import check_labels
from prp_core.evaluation.features import FeatureTable, extract_features
from prp_core.evaluation.retrieval import nearest_with_similarity, recall_at_k
from prp_core.evaluation.views import ViewsConfig
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

    `unreadable_queries` and `unreadable_gallery` are (key, reason) of the videos that could not be
    read; they are neither queries nor neighbours.
    """

    shown: tuple[QueryNeighbours, ...]
    recall_at_1: float
    num_queries: int
    num_gallery: int
    unreadable_queries: tuple[tuple[str, str], ...]
    unreadable_gallery: tuple[tuple[str, str], ...]


def find_neighbours(
    encoder: nn.Module,
    clip: ClipConfig,
    views: ViewsConfig,
    *,
    gallery: Sequence[VideoRecord],
    queries: Sequence[VideoRecord],
    shown: Sequence[str],
    source: FrameSource,
    world: World,
) -> RetrievalExamples:
    """The neighbours of the queries whose keys are in `shown`, from features of both parts.

    The features are those of every evaluation; the result is the same on every worker. Raises
    `UserError` as `evaluate_encoder` does: a video without a label, no video that can be read.
    """
    check_labels(gallery, queries)
    gallery_table = extract_features(encoder, gallery, source, clip, views, world)
    query_table = extract_features(encoder, queries, source, clip, views, world)
    return RetrievalExamples(
        shown=neighbours_of(gallery_table, query_table, shown),
        recall_at_1=recall_at_k(gallery_table, query_table, (1,))["retrieval/recall_at_1"],
        num_queries=len(query_table),
        num_gallery=len(gallery_table),
        unreadable_queries=query_table.broken,
        unreadable_gallery=gallery_table.broken,
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
