"""A run's whole network out of its checkpoint, for who wants to see what it learnt."""

from __future__ import annotations

from prp_core.config import PretrainConfig
from prp_core.pretext.network import PrpNetwork
from prp_core.training.checkpoint import Checkpoint, CheckpointFolder, from_bytes
from prp_core.training.learner import build_network


def rebuild_network(config: PretrainConfig, folder: CheckpointFolder, checkpoint: Checkpoint) -> PrpNetwork:
    """The network that training with `config` had at `checkpoint`, in evaluation mode on the CPU; the first worker's running statistics.

    Raises `CorruptObject` for a damaged checkpoint, `RuntimeError` for one of another config.
    """
    network = build_network(config)
    network.load_state_dict(from_bytes(folder.read(checkpoint, "common.pt"))["learner"]["network"])
    return network.eval()
