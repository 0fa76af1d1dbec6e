"""The features of a part: one row for each video, with its class and group beside it."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class FeatureTable:
    """Row n of `features_ND` (float32, on the CPU) describes the video `keys[n]` of class `labels[n]` and group `groups[n]`.

    `broken` names the videos that have no row, each with its reason.
    """

    features_ND: torch.Tensor
    labels: tuple[str, ...]
    keys: tuple[str, ...]
    groups: tuple[str, ...]
    broken: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        assert len(self.features_ND) == len(self.labels) == len(self.keys) == len(self.groups), self.features_ND.shape

    def __len__(self) -> int:
        return len(self.keys)
