"""Downstream metrics of one encoder, from the features of gallery and queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import nn

from prp_core.agreement import first_alone
from prp_core.data.clip_config import ClipConfig
from prp_core.data.frame_source import FrameSource
from prp_core.data.manifest import VideoRecord
from prp_core.errors import UserError
from prp_core.evaluation.class_check import check_labels
from prp_core.evaluation.evaluation_config import Evaluations
from prp_core.evaluation.feature_health import feature_health
from prp_core.evaluation.features import (
    FeatureTable,
    encoder_feature,
    extract_features,
    extract_tables,
    in_evaluation_mode,
)
from prp_core.evaluation.query_hits import query_hits
from prp_core.evaluation.time_panel import evenly_chosen, panel_metrics, variants
from prp_core.pretext.network import NetworkConfig
from prp_core.world import World


class EvaluatedConfig(NetworkConfig, Protocol):
    """A network's config with that of its evaluation; `PretrainConfig` is one."""

    @property
    def clip(self) -> ClipConfig: ...
    @property
    def evaluation(self) -> Evaluations: ...


@dataclass(frozen=True)
class EvaluationVideos:
    """The videos of an evaluation: `queries` are measured against `gallery`; `source` reads both.

    What needs fitting (a probe, fine-tuning) is fitted on the gallery.
    """

    gallery: Sequence[VideoRecord]
    queries: Sequence[VideoRecord]
    source: FrameSource

    @property
    def has_classes(self) -> bool:
        """Whether any of them has a class."""
        return any(record.label is not None for record in (*self.gallery, *self.queries))

    def check_labels(self) -> None:
        """See `check_labels`."""
        check_labels(self.gallery, self.queries)

    def check(self, evaluations: Evaluations) -> None:
        """Raise `UserError` where none of `evaluations` can be made: see `check_labels`; a
        label-free one needs two videos.
        """
        if self.has_classes or evaluations.label_free is None:
            self.check_labels()
            return
        number = len(self.gallery) + len(self.queries)
        if number < 2 or not self.queries:
            raise UserError(
                f"label-free retrieval needs two videos or more, one of them a query; there are "
                f"{len(self.gallery)} gallery and {len(self.queries)} query videos"
            )


@dataclass(frozen=True)
class Measured:
    """The `metrics` of an encoder, and whether each query counted in the one that was named (by the
    query's key; empty where none was).
    """

    metrics: dict[str, float] = field(default_factory=dict)
    hits: dict[str, bool] = field(default_factory=dict)


def extract_both(
    encoder: nn.Module, config: EvaluatedConfig, videos: EvaluationVideos, world: World
) -> tuple[FeatureTable, FeatureTable]:
    """The retrieval features of gallery and queries, the same on every worker.

    Raises `UserError` for a video without a label, or when no video can be read.
    """
    videos.check(config.evaluation)
    views = config.evaluation.views
    windows = config.evaluation.label_free is not None
    gallery, queries = (
        extract_features(
            encoder, records, videos.source, config.clip, views, world, with_windows=windows
        )
        for records in (videos.gallery, videos.queries)
    )
    return gallery, queries


def evaluate_encoder(
    encoder: nn.Module,
    config: EvaluatedConfig,
    videos: EvaluationVideos,
    world: World,
    *,
    is_final: bool,
) -> dict[str, float]:
    """The metrics of `evaluate_tables`, from the features of both parts.

    After the last epoch with the time panel, where that constrains the search. The workers share
    the videos; every worker gets the same numbers. Raises as `extract_both` does.
    """
    return measure_encoder(encoder, config, videos, world, is_final=is_final).metrics


def measure_encoder(
    encoder: nn.Module,
    config: EvaluatedConfig,
    videos: EvaluationVideos,
    world: World,
    *,
    is_final: bool,
    hits_of: str = "",
) -> Measured:
    """As `evaluate_encoder`, with each query's hit in the metric `hits_of` (see `query_hits`)."""
    gallery, queries = extract_both(encoder, config, videos, world)

    def measured() -> Measured:
        metrics = evaluate_tables(gallery, queries, config.evaluation, world, is_final=is_final)
        return Measured(metrics, query_hits(hits_of, gallery, queries) if hits_of else {})

    found = first_alone(world, "evaluating features", measured)
    panel = config.evaluation.time_panel
    if is_final and panel is not None and panel.least_share > 0:
        found.metrics.update(time_panel(encoder, config, videos, world))
    return found


def time_panel(
    encoder: nn.Module, config: EvaluatedConfig, videos: EvaluationVideos, world: World
) -> dict[str, float]:
    """Whether the retrieval of `encoder` needs the order of frames: see `panel_metrics`.

    Over at most as many videos of each part as the panel says; empty where the evaluation has no
    panel. The same on every worker; raises as `extract_both` does.
    """
    panel = config.evaluation.time_panel
    if panel is None:
        return {}
    videos.check_labels()
    views = config.evaluation.views
    with in_evaluation_mode(encoder):
        gallery, queries = (
            extract_tables(
                variants(encoder_feature(encoder)),
                evenly_chosen(records, panel.max_videos),
                videos.source,
                config.clip,
                views,
                world,
            )
            for records in (videos.gallery, videos.queries)
        )
    return first_alone(
        world, "measuring the time panel", lambda: panel_metrics(gallery, queries, world.device)
    )


def evaluate_tables(
    gallery: FeatureTable,
    queries: FeatureTable,
    evaluations: Evaluations,
    world: World,
    *,
    is_final: bool,
) -> dict[str, float]:
    """The metrics of every evaluation of features, and ``feature/...`` (feature health).

    Before the last epoch (`is_final` False) those alone that run at every rung; without any class
    those alone that need none.
    """
    has_classes = gallery.has_classes or queries.has_classes
    metrics = feature_health(gallery)
    for evaluation in evaluations.of_features.values():
        is_due = is_final or evaluation.at_every_rung
        if is_due and (has_classes or not evaluation.needs_classes):
            metrics.update(evaluation.metrics(gallery, queries, world.device))
    return metrics
