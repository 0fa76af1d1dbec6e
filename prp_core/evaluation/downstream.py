"""The evaluations of one encoder, as named numbers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from prp_core.agreement import first_alone
from prp_core.data.clip_config import ClipConfig
from prp_core.data.frame_source import FrameSource
from prp_core.data.manifest import VideoRecord
from prp_core.errors import UserError
from prp_core.evaluation.evaluation_config import Evaluations
from prp_core.evaluation.feature_health import feature_health
from prp_core.evaluation.features import FeatureTable, extract_features
from prp_core.evaluation.intervals import bootstrap_interval
from prp_core.evaluation.linear_probe import probe_accuracy
from prp_core.evaluation.retrieval import hits_at_k, recall_at_k
from prp_core.world import World


def evaluate_encoder(
    encoder: nn.Module,
    clip: ClipConfig,
    evaluations: Evaluations,
    *,
    gallery: Sequence[VideoRecord],
    queries: Sequence[VideoRecord],
    source: FrameSource,
    world: World,
    with_probe: bool,
) -> dict[str, float]:
    """Retrieval of `queries` from `gallery`, feature health, and the linear probe if wanted and
    configured.

    The workers share the videos; every worker gets the same numbers. Raises `UserError` for a video
    without a label.
    """
    check_labels(gallery, queries)
    gallery_table = extract_features(encoder, gallery, source, clip, evaluations.views, world)
    query_table = extract_features(encoder, queries, source, clip, evaluations.views, world)
    return first_alone(
        world,
        "evaluating features",
        lambda: evaluate_tables(
            gallery_table, query_table, evaluations, world, with_probe=with_probe
        ),
    )


def query_hits(
    encoder: nn.Module,
    clip: ClipConfig,
    evaluations: Evaluations,
    *,
    gallery: Sequence[VideoRecord],
    queries: Sequence[VideoRecord],
    source: FrameSource,
    world: World,
) -> dict[str, bool]:
    """For each query, by key, whether its nearest gallery video has its class; a query that cannot
    be read is left out.

    What paired comparisons of encoders are made of. The same on every worker; raises as
    `evaluate_encoder` does.
    """
    check_labels(gallery, queries)
    gallery_table = extract_features(encoder, gallery, source, clip, evaluations.views, world)
    query_table = extract_features(encoder, queries, source, clip, evaluations.views, world)
    hits = hits_at_k(gallery_table, query_table, (1,))[1].tolist()
    return dict(zip(query_table.keys, hits, strict=True))


def evaluate_tables(
    gallery: FeatureTable,
    queries: FeatureTable,
    evaluations: Evaluations,
    world: World,
    *,
    with_probe: bool,
) -> dict[str, float]:
    """The same from features: ``retrieval/...``, ``feature/...``, ``linear_probe/...`` and the
    counts behind them.

    ``retrieval/recall_at_1_low`` and ``_high`` bound the recall with 95 % confidence over groups of
    queries.
    """
    metrics = recall_at_k(gallery, queries, evaluations.retrieval.k_list)
    hits = hits_at_k(gallery, queries, (1,))[1].double().tolist()
    interval = bootstrap_interval(hits, queries.groups)
    metrics.update(
        {"retrieval/recall_at_1_low": interval.low, "retrieval/recall_at_1_high": interval.high}
    )
    metrics.update(
        {"retrieval/num_gallery": float(len(gallery)), "retrieval/num_queries": float(len(queries))}
    )
    metrics["retrieval/num_broken"] = float(len(gallery.broken) + len(queries.broken))
    metrics.update(feature_health(gallery))
    if with_probe and evaluations.linear_probe is not None:
        metrics.update(probe_accuracy(gallery, queries, evaluations.linear_probe, world.device))
    return metrics


def check_labels(gallery: Sequence[VideoRecord], queries: Sequence[VideoRecord]) -> None:
    """Raise `UserError` when a part is empty, a video has no class, or no query's class is in the
    gallery.
    """
    for name, part in (("gallery", gallery), ("query", queries)):
        unlabelled = [record.key for record in part if record.label is None]
        if not part or unlabelled:
            example = f", for example {unlabelled[0]!r}" if unlabelled else ""
            raise UserError(
                f"retrieval needs the class of every video: {len(unlabelled)} of "
                f"{len(part)} {name} videos have none{example}; "
                "put videos into class folders, or index them with a table of labels"
            )
    known = {record.label for record in gallery}
    if not any(record.label in known for record in queries):
        raise UserError(
            f"no query's class is among the gallery's {len(known)} classes: nothing can "
            "be retrieved; check labels and splits"
        )
