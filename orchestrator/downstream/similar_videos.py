"""A vector index over a feature table (USearch), and the nearest neighbours of a video in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.storage.feature_file import FeatureHeader, read_header, read_rows

EXACT_BELOW = 50_000
"""Videos up to which every one is compared; above, the graph of the index is followed."""


@dataclass(frozen=True)
class Neighbour:
    """A video near the query: `similarity` is the cosine of the two features, -1 to 1."""

    key: str
    label: str | None
    similarity: float


@dataclass(frozen=True)
class VideoIndex:
    """A feature table with its vector index."""

    path: Path
    header: FeatureHeader
    facts: list[dict[str, Any]]
    graph: Any

    def nearest(self, feature_D: np.ndarray, count: int, *, exact: bool) -> list[Neighbour]:
        """The `count` nearest videos by cosine, nearest first; equally near ones by their row."""
        matches = self.graph.search(
            np.ascontiguousarray(feature_D, dtype=np.float32),
            min(count, len(self.facts)),
            exact=exact,
        )
        rows = sorted(zip(matches.distances.tolist(), matches.keys.tolist(), strict=True))
        return [
            Neighbour(self.facts[row]["key"], self.facts[row]["label"], 1.0 - distance)
            for distance, row in rows
        ]


def open_index(path: Path) -> VideoIndex:
    """The table at `path` and its index, which lies beside it and is made when it is missing.

    Its name says of which content it is: another table has another index. Raises `UserError` where
    there is no table.
    """
    header = read_header(path)
    facts = [fact for facts, _ in read_rows(path) for fact in facts]
    return VideoIndex(path, header, facts, _graph(path, header))


def index_path(path: Path, header: FeatureHeader) -> Path:
    """Where the index of a table lies."""
    return path.with_name(f"{path.stem}.{header.about['digest']}.usearch")


def _graph(path: Path, header: FeatureHeader) -> Any:
    from usearch.index import Index

    place = index_path(path, header)
    if place.is_file():
        there = Index.restore(place, view=True)
        if there is not None and len(there) == header.num_videos:
            return there
    graph = Index(ndim=header.dimension, metric="cos", dtype="f32")
    first = 0
    for facts, features_ND in read_rows(path):
        # one thread: the same table gives the same graph
        graph.add(np.arange(first, first + len(facts), dtype=np.uint64), features_ND, threads=1)
        first += len(facts)
    beside = place.with_name(f".{place.name}.unfinished")
    graph.save(beside)
    beside.replace(place)
    return graph
