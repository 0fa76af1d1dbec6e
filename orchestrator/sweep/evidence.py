"""The smallest difference that a sweep's validation videos can show, for its plan.

An estimate before anything is spent, from the sizes of the groups and the number of seeds, with
variances as recorded sweeps have them: the model is that of `orchestrator.run_model`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from orchestrator.config.run_config import RunConfig
from orchestrator.confirmation import ERROR
from prp_core.data.manifest import Parts
from prp_core.evaluation.group_variance import degrees_at
from prp_core.evaluation.intervals import MIN_GROUPS, students_quantile

POWER = 0.8
SEED_DEVIATION = 0.03
"""Standard deviation of recall@1 over seeds, without that of the queries."""
QUERY_VARIANCE = 0.25
"""Variance over queries of the difference between two configurations' mean hits."""
CORRELATION = 0.05
"""Of these differences within a group."""
SEEDS_WITHOUT = 3  # what is told where nothing is confirmed


def evidence_line(split: Parts, config: RunConfig) -> str:
    """What the validation part of `split` can show, in one line."""
    num_videos = len(split.val)
    sizes = list(Counter(record.group or record.key for record in split.val).values())
    num_groups = len(sizes)
    lead = f"{num_videos} validation videos in {num_groups} groups: "
    source = config.source if split.judged_train is None else config.eval_source
    if num_groups < MIN_GROUPS:
        return (
            f"{lead}no difference can be shown, because an interval needs {MIN_GROUPS} groups; add "
            f"groups, or raise {source.PATH}.val_fraction (now {source.val_fraction:g})"
        )
    confirm = config.confirm
    if not confirm.num_candidates:
        least = smallest_difference(sizes, SEEDS_WITHOUT, 2)
        return (
            f"{lead}one seed each, without --confirm K, decides nothing; confirmed with "
            f"{SEEDS_WITHOUT} seeds they show a difference in recall@1 of {least:.2f} or more"
        )
    numbers = sorted({confirm.num_seeds, max(confirm.num_seeds, confirm.max_seeds)})
    shown = [
        f"{smallest_difference(sizes, seeds, confirm.num_candidates):.2f} or more "
        f"with {seeds} seeds"
        for seeds in numbers
    ]
    return (
        f"{lead}the confirmation can show a difference in recall@1 of {', '.join(shown)} "
        f"({POWER:.0%} of the time); a smaller one ends as a tie"
    )


def smallest_difference(sizes: Sequence[int], num_seeds: int, num_candidates: int) -> float:
    """The true difference in recall@1 that a confirmation tells apart with probability `POWER`, for
    `MIN_GROUPS` groups or more with so many videos each; at most 1.
    """
    seeds = 2 * SEED_DEVIATION**2 / num_seeds
    squares = sum(size * (1 + (size - 1) * CORRELATION) for size in sizes)
    scenes = QUERY_VARIANCE * squares / sum(sizes) ** 2
    of_scenes = degrees_at(sizes, CORRELATION, 1 - ERROR / 2)
    degrees = (seeds + scenes) ** 2 / (
        seeds**2 / (num_candidates * (num_seeds - 1)) + scenes**2 / of_scenes
    )
    quantiles = students_quantile(degrees, 1 - ERROR / 2) + students_quantile(degrees, POWER)
    return min(1.0, quantiles * math.sqrt(seeds + scenes))
