"""Checks of the parts of a corpus: what a trial would refuse is refused before one is started."""

from __future__ import annotations

import math
from collections.abc import Iterator

from orchestrator.config.run_config import RunConfig
from prp_core.data.manifest import Parts
from prp_core.errors import UserError
from prp_core.evaluation.class_check import check_labels

FEW_QUERIES = 100
QUANTILE = 1.96  # of the normal distribution, for 95 %


def check_parts(split: Parts, config: RunConfig, *, num_usable: int) -> list[str]:
    """Lines on the videos of `split` that have no class, and of what the others cannot show.

    `num_usable`: the usable videos of the manifest, with those that no part has.

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
    lines = list(_without_a_class(split, num_usable))
    num_queries = len(split.val)
    if num_queries >= FEW_QUERIES:
        return lines
    return [
        *lines,
        f"only {num_queries} validation videos: a difference in recall below "
        f"{smallest_difference(num_queries):.2f} cannot be told from chance; add videos, or raise "
        f"source.val_fraction (now {config.source.val_fraction:g})",
    ]


def _without_a_class(split: Parts, num_usable: int) -> Iterator[str]:
    num_trained = len(split.train) - len(split.gallery)
    if num_trained:
        yield (
            f"{num_trained} of the {len(split.train)} training videos have no class: they are "
            "trained on; encoders are judged on the videos that have one"
        )
    num_unused = num_usable - len(split.train) - len(split.val) - len(split.test)
    if num_unused:
        yield (
            f"{num_unused} usable videos are in no part: the splits leave them out, or they have "
            "no class and belong to validation or test, or show a scene of theirs"
        )


def smallest_difference(num_queries: int) -> float:
    """The smallest difference (0 to 1) between two trials' recalls that is significant at 95 %.

    For two independent proportions near one half, each of `num_queries`; fewer queries in common
    decide, so this is the cautious figure.
    """
    return QUANTILE * math.sqrt(2 * 0.25 / num_queries)
