"""Whom retrieval finds for a few queries, by name: the objective looked at video by video."""

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
    """A gallery video with its cosine similarity (-1 to 1) to the query; `is_right`: it has the
    query's class.
    """

    key: str
    label: str
    similarity: float
    is_right: bool


@dataclass(frozen=True)
class Answer:
    """A query with its neighbours, nearest first."""

    key: str
    label: str
    neighbours: tuple[Neighbour, ...]

    @property
    def is_right(self) -> bool:
        """Whether the nearest one has the query's class: what recall@1 counts."""
        return self.neighbours[0].is_right


@dataclass(frozen=True)
class Retrieved:
    """The `answers` to the queries that were asked for, and `recall_at_1` of all `num_queries`
    queries among `num_gallery` videos.

    `unread_queries` and `unread_gallery` are (key, reason) of the videos that could not be read:
    nothing is asked of them, none is found.
    """

    answers: tuple[Answer, ...]
    recall_at_1: float
    num_queries: int
    num_gallery: int
    unread_queries: tuple[tuple[str, str], ...]
    unread_gallery: tuple[tuple[str, str], ...]


def find_neighbours(
    encoder: nn.Module,
    clip: ClipConfig,
    views: ViewsConfig,
    *,
    gallery: Sequence[VideoRecord],
    queries: Sequence[VideoRecord],
    asked: Sequence[str],
    source: FrameSource,
    world: World,
) -> Retrieved:
    """The features of both parts as every evaluation extracts them, and the neighbours of the
    queries whose keys are in `asked`.

    The same on every worker. Raises `UserError` as `evaluate_encoder` does: a video without a
    label, no video that can be read.
    """
    check_labels(gallery, queries)
    gallery_table = extract_features(encoder, gallery, source, clip, views, world)
    query_table = extract_features(encoder, queries, source, clip, views, world)
    recall = recall_at_k(gallery_table, query_table, (1,))["retrieval/recall_at_1"]
    answers = answers_to(gallery_table, query_table, asked)
    return Retrieved(
        answers,
        recall,
        len(query_table),
        len(gallery_table),
        query_table.broken,
        gallery_table.broken,
    )


def answers_to(
    gallery: FeatureTable, queries: FeatureTable, asked: Collection[str]
) -> tuple[Answer, ...]:
    """The answer to each query of `asked` that has features, in the order of `asked`."""
    row_of = {key: row for row, key in enumerate(queries.keys)}
    rows, similarities = (
        tensor.tolist() for tensor in nearest_with_similarity(gallery, queries, NUM_NEIGHBOURS)
    )
    return tuple(
        _answer(gallery, queries, row_of[key], rows[row_of[key]], similarities[row_of[key]])
        for key in asked
        if key in row_of
    )


def _answer(
    gallery: FeatureTable,
    queries: FeatureTable,
    query: int,
    rows: Sequence[int],
    similarities: Sequence[float],
) -> Answer:
    label = queries.labels[query]
    found = (
        Neighbour(gallery.keys[row], gallery.labels[row], similarity, gallery.labels[row] == label)
        for row, similarity in zip(rows, similarities, strict=True)
    )
    return Answer(queries.keys[query], label, tuple(found))
