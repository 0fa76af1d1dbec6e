"""The optimisers that can be chosen, by name.

Each builder imports torch when it is called: whoever only checks a name (a sweep's coordinator)
does not pay for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from prp_core.eager_optimisers import eager

if TYPE_CHECKING:
    import torch

ParameterGroups = list[dict[str, Any]]


class BuildOptimiser(Protocol):
    """Builds an optimiser over parameter groups; values that it does not have are left aside.

    `fused`: one kernel updates all weights, on a GPU.
    """

    def __call__(
        self,
        groups: ParameterGroups,
        *,
        learning_rate: float,
        momentum: float,
        weight_decay: float,
        fused: bool,
    ) -> torch.optim.Optimizer: ...


def _sgd(
    groups: ParameterGroups,
    *,
    learning_rate: float,
    momentum: float,
    weight_decay: float,
    fused: bool,
) -> torch.optim.Optimizer:
    """SGD with momentum, without Nesterov (method §5)."""
    import torch

    return eager(torch.optim.SGD)(
        groups, lr=learning_rate, momentum=momentum, weight_decay=weight_decay, fused=fused or None
    )


def _adamw(
    groups: ParameterGroups,
    *,
    learning_rate: float,
    momentum: float,
    weight_decay: float,
    fused: bool,
) -> torch.optim.Optimizer:
    """AdamW with torch's default betas; `momentum` is SGD's."""
    import torch

    return eager(torch.optim.AdamW)(
        groups, lr=learning_rate, weight_decay=weight_decay, fused=fused or None
    )


OPTIMISERS: dict[str, BuildOptimiser] = {"sgd": _sgd, "adamw": _adamw}
