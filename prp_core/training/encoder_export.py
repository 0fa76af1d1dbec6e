"""Export: the encoder's weights from a network or checkpoint, and networks from weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from prp_core.encoders import build_encoder
from prp_core.encoders.encoder import Encoder
from prp_core.errors import UserError
from prp_core.pretext.network import PrpNetwork, build_network
from prp_core.training.checkpoint import Checkpoint, CheckpointFolder, from_bytes
from prp_core.training.pretrain_config import PretrainConfig

ENCODER_PREFIX = "encoder."


def encoder_weights(network: PrpNetwork | nn.Module) -> dict[str, torch.Tensor]:
    """The encoder's parameters and buffers by name: contiguous copies on the CPU.

    `network` is a `PrpNetwork` or an encoder itself.
    """
    encoder = network.encoder if isinstance(network, PrpNetwork) else network
    return {name: _copy(tensor) for name, tensor in encoder.state_dict().items()}


def checkpoint_encoder_weights(
    folder: CheckpointFolder, checkpoint: Checkpoint
) -> dict[str, torch.Tensor]:
    """The encoder's parameters and buffers by name, from a pretraining checkpoint."""
    network = from_bytes(folder.read(checkpoint, "common.pt"))["learner"]["network"]
    return {
        name.removeprefix(ENCODER_PREFIX): _copy(tensor)
        for name, tensor in network.items()
        if name.startswith(ENCODER_PREFIX)
    }


def rebuild_encoder(name: str, weights: Mapping[str, torch.Tensor]) -> Encoder:
    """The encoder called `name` with `weights`, in evaluation mode on the CPU.

    Raises `UserError` when the weights are not exactly that encoder's, with the first names that
    are missing or unexpected.
    """
    encoder = build_encoder(name)
    load_encoder_weights(encoder, name, weights)
    # as it was trained, to the bit
    encoder = encoder.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return encoder.eval()


def load_encoder_weights(
    encoder: nn.Module, name: str, weights: Mapping[str, torch.Tensor]
) -> None:
    """Copy `weights` into `encoder`, which is called `name`. Raises as `rebuild_encoder` does."""
    own = encoder.state_dict()
    missing = sorted(own.keys() - weights.keys())
    unexpected = sorted(weights.keys() - own.keys())
    misshapen = sorted(
        key for key in own.keys() & weights.keys() if own[key].shape != weights[key].shape
    )
    if missing or unexpected or misshapen:
        raise UserError(
            f"these weights are not those of encoder {name!r}: {len(missing)} missing "
            f"{missing[:3]}, "
            f"{len(unexpected)} unexpected {unexpected[:3]}, {len(misshapen)} of "
            f"another shape {misshapen[:3]}; name the encoder they were saved from"
        )
    encoder.load_state_dict(dict(weights))


def _copy(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().to("cpu", copy=True).contiguous()


def rebuild_network(
    config: PretrainConfig, folder: CheckpointFolder, checkpoint: Checkpoint
) -> PrpNetwork:
    """The network at `checkpoint` of a run with `config`, in evaluation mode on the CPU.

    Its running statistics are the first worker's. Raises `CorruptObject` for a damaged checkpoint,
    `RuntimeError` for one of another config.
    """
    network = build_network(config)
    network.load_state_dict(from_bytes(folder.read(checkpoint, "common.pt"))["learner"]["network"])
    return network.eval()
