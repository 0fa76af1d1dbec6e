"""The halves of the method, each alone and together, with the same compute."""

from __future__ import annotations

import torch
from torch import nn

from orchestrator.config.run_config import RunConfig
from prp_core.pretext.network import build_network

NO_RATE = "pretext.playback_rate.loss_weight=0"
NO_RECONSTRUCTION = "pretext.slow_motion.loss_weight=0"
BOTH = "both tasks"
ARMS: dict[str, tuple[str, ...]] = {
    BOTH: (),
    "rate alone": (NO_RECONSTRUCTION,),
    "reconstruction alone": (NO_RATE,),
    "playing direction alone": (
        NO_RATE,
        NO_RECONSTRUCTION,
        "pretext.playing_direction.loss_weight=1.0",
    ),
}
"""What is learnt -> the settings of it, beside the preset's."""


@torch.no_grad()
def operations_of_clip(config: RunConfig) -> int:
    """The multiplications of one clip's way through the network, counted layer by layer: no
    measurement, so that it is the same on every machine. A step takes three times as many a clip.
    """
    network = build_network(config).eval()
    network.fuse_decoders(False)
    counts: list[int] = []

    def count(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        weight = layer.weight
        assert isinstance(weight, torch.Tensor)
        places = inputs[0] if isinstance(layer, nn.ConvTranspose3d) else output
        counts.append(places[0].numel() // places.shape[1] * weight.numel())

    for layer in network.modules():
        if isinstance(layer, nn.Conv3d | nn.ConvTranspose3d | nn.Linear):
            layer.register_forward_hook(count)
    clip = config.clip
    network(torch.zeros(1, 3, clip.length, clip.crop, clip.crop))
    return sum(counts)


def epochs_of_equal_compute(config: RunConfig, reference: RunConfig) -> int:
    """The epochs that `config` trains for with the operations of `reference`'s training."""
    whole = operations_of_clip(reference) * reference.training.num_epochs
    return max(1, round(whole / operations_of_clip(config)))
