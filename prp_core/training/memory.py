"""An estimate of the memory that a training step takes on one worker, without a device.

The network runs once on torch's meta device, where tensors have shapes and no bytes. What it keeps
for the backward pass grows with the number of pixels of the clips and, behind the decoder, with the
upsampling, so runs of small clips give the figures for every size. Every stage of the decoder is
fused here (`prp_core.pretext.fused_upsampling`), which keeps the least.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch

from prp_core.encoders import ENCODERS
from prp_core.pretext.network import PrpNetwork
from prp_core.pretext.playback_rate import PlaybackRate, rate_loss
from prp_core.pretext.pretext_config import PretextTasks
from prp_core.pretext.slow_motion import SlowMotion, reconstruction_loss

COPIES_OF_WEIGHTS = 4  # the weights, their gradients and the optimiser's two moments
PROBE_CLIPS = 16  # so many that the largest activation is larger than any composed kernel
PROBE_LENGTH = 16
PROBE_CROP = 64


@dataclass(frozen=True)
class BranchMemory:
    """Bytes of an encoder with one branch, in float32.

    For each value of a clip (3 x T x H x W of them), more for each unit of upsampling; and of
    weights and optimiser.
    """

    bytes_per_value: float
    bytes_per_value_and_upsampling: float
    state_bytes: int


@dataclass(frozen=True)
class NetworkMemory:
    """A lower bound of the memory of training, with a decoder or without.

    `decoder` where the slow-motion task is on, `classifier` where it is off.
    """

    decoder: BranchMemory
    classifier: BranchMemory

    def worker_bytes(self, *, num_clips: int, length: int, crop: int, upsampling: int) -> float:
        """The least that a step on `num_clips` clips needs, weights and optimiser included.

        Clips have `length` frames of `crop` x `crop` pixels; `upsampling` 0: there is no decoder.
        """
        branch = self.decoder if upsampling else self.classifier
        values = num_clips * 3 * length * crop * crop
        return branch.state_bytes + values * (
            branch.bytes_per_value + upsampling * branch.bytes_per_value_and_upsampling
        )


@cache
def network_memory(encoder: str) -> NetworkMemory:
    """The figures of the network around the encoder called `encoder`."""
    once, state_bytes = _bytes_per_value(encoder, SlowMotion(upsampling=1))
    twice, _ = _bytes_per_value(encoder, SlowMotion(upsampling=2))
    decoder = BranchMemory(2 * once - twice, twice - once, state_bytes)
    kept, state_bytes = _bytes_per_value(encoder, None)
    return NetworkMemory(decoder, BranchMemory(kept, 0.0, state_bytes))


def memory_table() -> dict[str, NetworkMemory]:
    """The figures of every encoder."""
    return {name: network_memory(name) for name in ENCODERS}


def _bytes_per_value(encoder: str, slow_motion: SlowMotion | None) -> tuple[float, int]:
    """(bytes of a step for each value of a clip, bytes of weights and optimiser).

    What does not grow with the clips (the composed kernels of the decoder) is left out.
    """
    (once, state_bytes), (twice, _) = (
        _kept_bytes(encoder, slow_motion, num_clips) for num_clips in (PROBE_CLIPS, 2 * PROBE_CLIPS)
    )
    values = PROBE_CLIPS * 3 * PROBE_LENGTH * PROBE_CROP * PROBE_CROP
    return (twice - once) / values, state_bytes


def _kept_bytes(encoder: str, slow_motion: SlowMotion | None, num_clips: int) -> tuple[int, int]:
    """(bytes of a step on `num_clips` clips, bytes of weights and optimiser), with one branch.

    A step holds what its backward pass needs and the gradients beside it. The branch is that of
    `slow_motion`, or a classifier where that is None.
    """
    kept: dict[int, int] = {}
    # So that no storage is counted under the number of one that is gone.
    alive: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes()
        alive.append(tensor)
        return tensor

    tasks = PretextTasks(
        playback_rate=PlaybackRate(loss_weight=float(slow_motion is None)),
        slow_motion=slow_motion or SlowMotion(loss_weight=0.0),
    )
    with torch.device("meta"):
        network = PrpNetwork(encoder, tasks)
        network.fuse_decoders(True)
        clip_BCTHW = torch.zeros(num_clips, 3, PROBE_LENGTH, PROBE_CROP, PROBE_CROP)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            (output,) = network(clip_BCTHW).values()
            if slow_motion is None:
                rate_loss(output, torch.zeros(num_clips, dtype=torch.long))
            else:
                supervised_BT = torch.ones(num_clips, output.shape[2], dtype=torch.bool)
                reconstruction_loss(
                    output, torch.zeros_like(output), torch.ones_like(output), supervised_BT
                )
    weights = {
        tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes()
        for tensor in network.parameters()
    }
    activations = {number: num_bytes for number, num_bytes in kept.items() if number not in weights}
    # In the backward pass the gradients of the largest activation and of what comes before it are
    # there as well.
    kept_bytes = sum(activations.values()) + 2 * max(activations.values())
    return kept_bytes, COPIES_OF_WEIGHTS * sum(weights.values())


CPU_ALLOCATOR_WORDS = ("DefaultCPUAllocator", "not enough memory", "can't allocate memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory ran out, on a GPU or on the CPU.

    torch's CPU allocator raises a plain `RuntimeError`, which only its text tells apart.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(
        words in str(error) for words in CPU_ALLOCATOR_WORDS
    )
