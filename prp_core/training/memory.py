"""How much memory training a config takes on one worker, before anything is trained: what the
backward pass keeps, counted on no device.

The network runs once on torch's meta device, where tensors have shapes and no bytes. Everything
that it keeps grows with the number of pixels of the clips and, behind the decoder, with the
reconstruction rate, so two runs of a small clip give the figures for every size.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch

from prp_core.encoders import ENCODERS
from prp_core.pretext.network import PrpNetwork
from prp_core.pretext.playback_rate import rate_loss
from prp_core.pretext.slow_motion import reconstruction_loss

BYTES_PER_VALUE = 4
COPIES_OF_WEIGHTS = 4  # the weights, their gradients and the optimiser's two moments
PROBE_LENGTH = 16
PROBE_CROP = 64


@dataclass(frozen=True)
class NetworkMemory:
    """Bytes of a network in float32: for each value of a clip (3 x T x H x W of them), and more for
    each unit of reconstruction rate.
    """

    bytes_per_value: float
    bytes_per_value_and_upsampling: float
    state_bytes: int

    def worker_bytes(self, *, num_clips: int, length: int, crop: int, upsampling: int) -> float:
        """What a step on `num_clips` clips of `length` frames of `crop` x `crop` pixels needs at
        least, weights and optimiser included.
        """
        values = num_clips * 3 * length * crop * crop
        return self.state_bytes + values * (
            self.bytes_per_value + upsampling * self.bytes_per_value_and_upsampling
        )


@cache
def network_memory(encoder: str) -> NetworkMemory:
    """The figures of the network around the encoder called `encoder`."""
    values = 3 * PROBE_LENGTH * PROBE_CROP * PROBE_CROP
    (once, state_bytes), (twice, _) = (_kept_bytes(encoder, upsampling) for upsampling in (1, 2))
    each = (twice - once) / values
    return NetworkMemory(once / values - each, each, state_bytes)


def memory_table() -> dict[str, NetworkMemory]:
    """The figures of every encoder."""
    return {name: network_memory(name) for name in ENCODERS}


def _kept_bytes(encoder: str, upsampling: int) -> tuple[int, int]:
    """(bytes that a step on one clip keeps for its backward pass and holds beside it, bytes of
    weights and optimiser).
    """
    kept: dict[int, int] = {}
    alive: list[
        torch.Tensor
    ] = []  # so that no storage is counted under the number of one that is gone

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes()
        alive.append(tensor)
        return tensor

    with torch.device("meta"):
        network = PrpNetwork(encoder, num_rates=4, upsampling=upsampling)
        clip_BCTHW = torch.zeros(1, 3, PROBE_LENGTH, PROBE_CROP, PROBE_CROP)
        target_BCTHW = torch.zeros(1, 3, upsampling * PROBE_LENGTH, PROBE_CROP, PROBE_CROP)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            output = network(clip_BCTHW)
            rate_loss(output.rate_logits, torch.zeros(1, dtype=torch.long))
            supervised_BT = torch.ones(
                target_BCTHW.shape[:1] + target_BCTHW.shape[2:3], dtype=torch.bool
            )
            reconstruction_loss(
                output.reconstruction_BCTHW,
                target_BCTHW,
                torch.ones_like(target_BCTHW),
                supervised_BT,
            )
    weights = {
        tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes()
        for tensor in network.parameters()
    }
    activations = {number: num_bytes for number, num_bytes in kept.items() if number not in weights}
    # In the backward pass the gradients of the largest activation and of what comes before it are
    # there as well.
    return sum(activations.values()) + 2 * max(activations.values()), COPIES_OF_WEIGHTS * sum(
        weights.values()
    )


CPU_ALLOCATOR_WORDS = ("DefaultCPUAllocator", "not enough memory", "can't allocate memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` is torch's or Python's word for memory that could not be had, on a GPU or on
    the CPU.

    (torch's CPU allocator raises a plain `RuntimeError`, which only its text tells apart.)
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(
        words in str(error) for words in CPU_ALLOCATOR_WORDS
    )
