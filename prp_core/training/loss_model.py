"""The function that a step differentiates: from clips and targets to outputs and losses.

A module around the network, so that it is compiled and wrapped for several workers as one thing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from prp_core.pretext.network import PrpNetwork
from prp_core.pretext.task import PretextTask

COMPILE_MODES = {"default": None, "cuda-graphs": "reduce-overhead"}
"""torch's names of the modes that ``training.compile`` can have beside ``off``."""


class LossModel(nn.Module):
    """`network` and the losses of `tasks` (those that are on)."""

    def __init__(self, network: PrpNetwork, tasks: Mapping[str, PretextTask]) -> None:
        super().__init__()
        self.network = network
        self._tasks = dict(tasks)

    def forward(
        self, clip_BCTHW: torch.Tensor, targets: Mapping[str, Any]
    ) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """(each head's output in at least float32, each task's unweighted loss), by task."""
        outputs = {
            name: output.to(torch.promote_types(output.dtype, torch.float32))
            for name, output in self.network(clip_BCTHW).items()
        }
        losses = {
            name: task.loss(outputs[name], targets[name]) for name, task in self._tasks.items()
        }
        return outputs, losses


def compile_model(model: LossModel, mode: str) -> None:
    """Compile `model` in place, as one graph for shapes that do not change; `off` does nothing.

    Names of parameters and the state dict stay.
    """
    if mode != "off":
        model.compile(fullgraph=True, dynamic=False, mode=COMPILE_MODES[mode])
