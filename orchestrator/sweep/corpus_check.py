"""Checks of the parts of a corpus: what a trial would refuse is refused before one is started."""

from __future__ import annotations

import math

from orchestrator.config.run_config import RunConfig
from prp_core.data.manifest import Parts
from prp_core.errors import UserError
from prp_core.evaluation.class_check import check_labels

FEW_QUERIES = 100
QUANTILE = 1.96  # of the normal distribution, for 95 %


def check_parts(split: Parts, config: RunConfig) -> list[str]:
    """Lines that warn of what the videos of `split` cannot show.

    Raises `UserError` for videos without a class, for a single class, and for a batch that is
    larger than the training part.
    """
    check_labels(split.gallery, split.val)
    labels = {record.label for record in (*split.gallery, *split.val)}
    if len(labels) < 2:
        raise UserError(
            f"All videos are of one class ({next(iter(labels))!r}): every retrieval would be right "
            "and every trial as good; put the videos into class folders, or give --labels CSV"
        )
    batch_size = config.training.batch_size
    if batch_size > len(split.train):
        raise UserError(
            f"training.batch_size = {batch_size}: only {len(split.train)} usable training videos; "
            "lower it or add videos"
        )
    num_queries = len(split.val)
    if num_queries >= FEW_QUERIES:
        return []
    return [
        f"only {num_queries} validation videos: a difference in recall below "
        f"{smallest_difference(num_queries):.2f} cannot be told from chance; add videos, or raise "
        f"source.val_fraction (now {config.source.val_fraction:g})"
    ]


def smallest_difference(num_queries: int) -> float:
    """The smallest difference (0 to 1) between two trials' recalls that is significant at 95 %.

    For two independent proportions near one half, each of `num_queries`; fewer queries in common
    decide, so this is the cautious figure.
    """
    return QUANTILE * math.sqrt(2 * 0.25 / num_queries)
