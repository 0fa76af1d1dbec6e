"""The time panel: how much of an encoder's retrieval needs more than one frame, and their order.

The encoder describes each video four times: with its frames in order, shuffled (each clip has a
permutation of its own), reversed, and with the middle frame repeated. Queries whose frames are
shuffled search a gallery whose frames are shuffled too, and likewise for the repeated frame, so
that what is lost is what time told, not a difference between the two parts. Reversed queries search
the gallery in order: they show whether the encoder distinguishes the directions of time. A linear
probe of the arrow of time (in order or reversed?) needs no class at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from prp_core.checks import check

if TYPE_CHECKING:  # a config is read where torch is not loaded
    import torch

    from prp_core.evaluation.features import Describe, FeatureTable

SHARE_NEEDING_TIME = "time_panel/share_needing_time"
SHARE_NEEDING_ORDER = "time_panel/share_needing_order"
IN_ORDER = "in_order"
SHUFFLED = "shuffled"
REVERSED = "reversed"
ONE_FRAME = "one_frame"
FORWARDS, BACKWARDS = "forwards", "backwards"  # the classes of the arrow of time

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class TimePanel:
    """How an encoder is asked whether it sees time."""

    max_videos: int = 512
    """Videos of each part that are described at most, evenly chosen over the part."""

    least_share: float = 0.0
    """The share of recall that has to need time, 0 to 1. Above 0 every trial is measured after its
    last epoch, and one below it is pruned there, so that it cannot win; 0: no constraint, and only
    the encoder that the sweep takes is measured."""

    def __post_init__(self) -> None:
        check(
            self.max_videos >= 2,
            "evaluation.time_panel.max_videos",
            self.max_videos,
            "must be at least 2",
        )
        check(
            0 <= self.least_share < 1,
            "evaluation.time_panel.least_share",
            self.least_share,
            "must be at least 0 and below 1",
        )

    def violation(self, metrics: Mapping[str, float]) -> str:
        """Why a trial with these final `metrics` violates the constraint; empty where it does not,
        or where nothing was measured.
        """
        share = metrics.get(SHARE_NEEDING_TIME)
        if share is None or share >= self.least_share:
            return ""
        return (
            f"{share:.3f} of its recall needs time, less than the "
            f"{self.least_share:g} of evaluation.time_panel.least_share"
        )


def panel_metrics(
    gallery: Mapping[str, FeatureTable],
    queries: Mapping[str, FeatureTable],
    device: torch.device | str = "cpu",
) -> dict[str, float]:
    """The panel as ``time_panel/...``, from tables by variant of the same videos.

    ``recall_in_order``, ``recall_shuffled``, ``recall_reversed`` and ``recall_one_frame`` are
    recall at 1, ``arrow_of_time_accuracy`` is the probe's (chance 0.5). ``share_needing_time`` is
    the share of recall that one frame does not give, ``share_needing_order`` the share that
    shuffled frames do not give (see `share_lost`): shuffled frames still show how fast things move.
    """
    from prp_core.evaluation.retrieval import hits_at_k

    def recall(searched: str, asked: str) -> float:
        return hits_at_k(gallery[searched], queries[asked], (1,))[1].double().mean().item()

    in_order = recall(IN_ORDER, IN_ORDER)
    shuffled = recall(SHUFFLED, SHUFFLED)
    one_frame = recall(ONE_FRAME, ONE_FRAME)
    return {
        "time_panel/recall_in_order": in_order,
        "time_panel/recall_shuffled": shuffled,
        "time_panel/recall_reversed": recall(IN_ORDER, REVERSED),
        "time_panel/recall_one_frame": one_frame,
        "time_panel/arrow_of_time_accuracy": arrow_accuracy(gallery, queries, device),
        SHARE_NEEDING_TIME: share_lost(in_order, one_frame),
        SHARE_NEEDING_ORDER: share_lost(in_order, shuffled),
    }


def share_lost(recall: float, recall_without: float) -> float:
    """The share of `recall` that is not in `recall_without`, 0 to 1.

    What chance finds is never lost: with k equally frequent classes the share is at most ``1 - 1 /
    (k * recall)``, but for luck.
    """
    return max(0.0, 1 - recall_without / recall) if recall > 0 else 0.0


def arrow_accuracy(
    gallery: Mapping[str, FeatureTable],
    queries: Mapping[str, FeatureTable],
    device: torch.device | str = "cpu",
) -> float:
    """Accuracy of a linear probe that names whether frames run forwards, fitted on the gallery."""
    from prp_core.evaluation.linear_probe import LinearProbe, probe_accuracy

    fitted, asked = (_both_directions(tables) for tables in (gallery, queries))
    return probe_accuracy(fitted, asked, LinearProbe(), device)["linear_probe/accuracy"]


def _both_directions(tables: Mapping[str, FeatureTable]) -> FeatureTable:
    import torch

    from prp_core.evaluation.features import FeatureTable

    forwards, backwards = tables[IN_ORDER], tables[REVERSED]
    return FeatureTable(
        features_ND=torch.cat([forwards.features_ND, backwards.features_ND]),
        labels=(FORWARDS,) * len(forwards) + (BACKWARDS,) * len(backwards),
        keys=forwards.keys + backwards.keys,
        groups=forwards.groups + backwards.groups,
    )


def variants(describe: Describe) -> dict[str, Describe]:
    """`describe` of clips in order, shuffled, reversed, and of their middle frame repeated."""
    return {
        IN_ORDER: describe,
        SHUFFLED: lambda clips_BCTHW: describe(shuffled(clips_BCTHW)),
        REVERSED: lambda clips_BCTHW: describe(clips_BCTHW.flip(2)),
        ONE_FRAME: lambda clips_BCTHW: describe(one_frame(clips_BCTHW)),
    }


def shuffled(clips_BCTHW: torch.Tensor) -> torch.Tensor:
    """The frames of each clip in an order drawn from the clip's own pixels.

    So the order is the same for every encoder and number of workers, and another for each clip: one
    fixed permutation would itself be a kind of motion.
    """
    import torch

    from prp_core.randomness import generator_for

    sums_B = (clips_BCTHW * 255).round().long().sum(dim=(1, 2, 3, 4)).tolist()
    length = clips_BCTHW.shape[2]
    rows = []
    for clip_CTHW, total in zip(clips_BCTHW, sums_B, strict=True):
        order = torch.randperm(length, generator=generator_for(total, "shuffled frames"))
        rows.append(clip_CTHW[:, order.to(clip_CTHW.device)])
    return torch.stack(rows)


def one_frame(clips_BCTHW: torch.Tensor) -> torch.Tensor:
    """The middle frame of each clip at every time."""
    length = clips_BCTHW.shape[2]
    middle = clips_BCTHW[:, :, length // 2 : length // 2 + 1]
    return middle.expand_as(clips_BCTHW).contiguous()


def evenly_chosen(items: Sequence[Item], most: int) -> tuple[Item, ...]:
    """At most `most` of `items`, evenly spaced, in their order."""
    if len(items) <= most:
        return tuple(items)
    return tuple(items[place * len(items) // most] for place in range(most))
