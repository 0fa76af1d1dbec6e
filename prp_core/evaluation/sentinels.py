"""Sentinels: known ways in which a training fails while its loss looks well, each with its cause.

Pure: a function of a trial's last metrics. What rings is on the screen, in MLflow and in the report
with the likely cause.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from prp_core.data.manifest import Parts

Metrics = Mapping[str, float]
SMALLEST_SPREAD = 0.01
SMALLEST_RANK = 2.0  # features of which one dimension varies lie on an arc, once of unit length
SMALLEST_CONTRAST = 0.05
LEAST_OVER_METADATA = 0.1
LEARNT, NOT_HELD = 0.5, 0.1


@dataclass(frozen=True)
class Sentinel:
    """Something that may be wrong: `symptom` says what it is of these metrics (empty: it is not),
    `cause` what the likely reason is, and what to do.
    """

    symptom: Callable[[Metrics], str]
    cause: str


def _collapse(metrics: Metrics) -> str:
    spread, rank = (metrics.get(f"feature/{name}") for name in ("spread", "effective_rank"))
    if spread is None or rank is None or (spread >= SMALLEST_SPREAD and rank >= SMALLEST_RANK):
        return ""
    return f"the features have collapsed (spread {spread:.2g}, effective rank {rank:.1f})"


def _flat_reconstruction(metrics: Metrics) -> str:
    contrast = metrics.get("epoch/reconstruction_contrast")
    if contrast is None or contrast >= SMALLEST_CONTRAST:
        return ""
    return f"the reconstruction is one flat colour (contrast {contrast:.1%} of the target's)"


def _rate_by_metadata(metrics: Metrics) -> str:
    accuracy, chance = (metrics.get(f"metadata/rate_{name}") for name in ("accuracy", "chance"))
    if accuracy is None or chance is None or accuracy <= chance + LEAST_OVER_METADATA:
        return ""
    return (
        f"the rate is named from length, frame rate, size and codec alone (accuracy "
        f"{accuracy:.2f}, chance {chance:.2f})"
    )


def _rate_not_held_out(metrics: Metrics) -> str:
    learnt = metrics.get("epoch/rate_accuracy_over_chance")
    held = metrics.get("held_out/rate_accuracy_over_chance")
    if learnt is None or held is None or learnt < LEARNT or held >= NOT_HELD:
        return ""
    return (
        f"the rate is named on training videos alone (over chance {learnt:.2f}, held out "
        f"{held:.2f})"
    )


SENTINELS: dict[str, Sentinel] = {
    "collapsed features": Sentinel(
        _collapse,
        "all videos look alike to the encoder, often because of a learning rate that is too high; "
        "lower training.learning_rate, or raise a task's loss_weight",
    ),
    "flat reconstruction": Sentinel(
        _flat_reconstruction,
        "the decoder teaches the encoder nothing, often because the training is too short; train "
        "longer, lower pretext.slow_motion.initial_contrast, or set pretext.slow_motion.decoder to "
        "'linear'",
    ),
    "rate by metadata": Sentinel(
        _rate_by_metadata,
        "short videos are drawn at low rates only; use lower rates, a shorter clip, or "
        "clip.short_videos = 'loop'",
    ),
    "rate not held out": Sentinel(
        _rate_not_held_out,
        "the training videos are remembered; add videos or augmentation, or train for less long",
    ),
}


def alarms(metrics: Metrics) -> list[str]:
    """What is wrong by the last `metrics` of a trial, each with its likely cause."""
    found = ((one.symptom(metrics), one.cause) for one in SENTINELS.values())
    return [f"{symptom}: {cause}" for symptom, cause in found if symptom]


def leakage(parts: Parts) -> str:
    """What the parts of a corpus share, which makes its figures too high; empty: nothing.

    Groups that a stated split puts into several parts; copies of one video are one group.
    """
    shared = parts.shared_groups
    if not shared:
        return ""
    more = f" and {len(shared) - 3} more" if len(shared) > 3 else ""
    return (
        f"{len(shared)} groups, or copies of one video, are in several parts "
        f"({', '.join(shared[:3])}{more}), so that retrieval finds them again: figures are too "
        "high; correct the splits, or leave them out to have the groups kept apart"
    )
