"""The workers of a run: this one's rank and device, and their collective calls.

`World.alone()` serves a single process (no process group needed); `World.of_process_group()`
describes the one that a launcher (Ray Train, torchrun) has set up. Nothing else in `prp_core` names
`torch.distributed`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from prp_core.eager_data_parallel import EagerDataParallel


@dataclass(frozen=True)
class World:
    """A worker's place among all: `rank` of `size`, computing on `device`.

    `host_group` exchanges plain values where the default group is the GPUs': so that what workers
    tell each other waits for no kernel.
    """

    rank: int
    size: int
    device: torch.device
    host_group: Any = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        assert 0 <= self.rank < self.size, self

    @classmethod
    def alone(cls, device: str | torch.device = "cpu") -> World:
        """One worker and no process group."""
        return cls(rank=0, size=1, device=torch.device(device))

    @classmethod
    def of_process_group(cls, device: str | torch.device) -> World:
        """The process group that the launcher initialised; alone where there is none."""
        if not (dist.is_available() and dist.is_initialized()):
            return cls.alone(device)
        of_gpus = torch.device(device).type == "cuda"
        return cls(
            rank=dist.get_rank(),
            size=dist.get_world_size(),
            device=torch.device(device),
            host_group=dist.new_group(backend="gloo") if of_gpus else None,
        )

    @property
    def is_first(self) -> bool:
        """Whether this is the worker that writes checkpoints and reports."""
        return self.rank == 0

    def wrap(self, network: nn.Module, *, is_static: bool = False) -> nn.Module:
        """`network` with gradients averaged over the workers (DDP); itself when alone.

        `is_static`: each backward pass reaches the same parameters, and averages. Buffers stay each
        worker's own (`share_buffers` makes them equal).
        """
        if self.size == 1:
            return network
        with warnings.catch_warnings():  # the new name of the second argument is not in torch 2.11
            warnings.simplefilter("ignore", FutureWarning)
            return EagerDataParallel(
                network,
                broadcast_buffers=False,
                gradient_as_bucket_view=True,
                static_graph=is_static,
            )

    def gradients_stay(self, wrapped: nn.Module, *, stay: bool) -> AbstractContextManager[None]:
        """Where gradients of `wrapped` are added up on this worker and not averaged yet."""
        if stay and isinstance(wrapped, nn.parallel.DistributedDataParallel):
            return wrapped.no_sync()
        return nullcontext()

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        """Each value averaged over the workers; every worker passes the same names."""
        return {name: total / self.size for name, total in self.sum(values).items()}

    def sum(self, values: Mapping[str, float]) -> dict[str, float]:
        """Each value summed over the workers; every worker passes the same names."""
        if self.size == 1 or not values:
            return dict(values)
        names = sorted(values)
        packed = torch.tensor([values[name] for name in names], dtype=torch.float64)
        dist.all_reduce(packed, group=self.host_group)
        return dict(zip(names, packed.tolist(), strict=True))

    def sum_tensor(self, values: torch.Tensor) -> torch.Tensor:
        """`values` (on this worker's device) summed over the workers; waits for no kernel."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def sum_with_gradient(self, values: torch.Tensor) -> torch.Tensor:
        """As `sum_tensor` in a new tensor; its gradient is summed over the workers too."""
        if self.size == 1:
            return values
        summed: torch.Tensor = _Summed.apply(values)  # type: ignore[no-untyped-call]
        return summed

    def any(self, flag: bool) -> bool:
        """Whether any worker says yes."""
        return self.sum({"flag": float(flag)})["flag"] > 0

    def from_first(self, value: Any) -> Any:
        """The first worker's `value` (picklable, small), on every worker."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self.host_group)
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        """Every worker's `value` (picklable, small), by rank, on every worker."""
        if self.size == 1:
            return [value]
        boxes: list[Any] = [None] * self.size
        dist.all_gather_object(boxes, value, group=self.host_group)
        return boxes

    def barrier(self) -> None:
        """Wait for every worker."""
        if self.size > 1:
            dist.barrier(group=self.host_group)


class _Summed(torch.autograd.Function):
    """The sum over the workers, whose gradient is the sum of all workers' gradients."""

    @staticmethod
    def forward(context: Any, values: torch.Tensor) -> torch.Tensor:
        """A tensor of its own, the same on every worker."""
        summed = values.clone()
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> torch.Tensor:
        """Each worker's values are a part of every worker's sum."""
        summed = gradients[0].clone()
        dist.all_reduce(summed)
        return summed


def use_threads(number: int) -> None:
    """Let torch compute on `number` threads (at least 1) in this process.

    Called by whoever starts a worker, not at import.
    """
    torch.set_num_threads(max(1, number))


def best_device() -> str:
    """``"cuda"`` where a GPU can be used, else ``"cpu"``."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def share_buffers(network: nn.Module, world: World) -> None:
    """Give every worker's `network` the first worker's buffers."""
    if world.size > 1:
        load_buffers(
            network,
            world.from_first({name: buffer.cpu() for name, buffer in network.named_buffers()}),
        )


def load_buffers(network: nn.Module, buffers: Mapping[str, torch.Tensor]) -> None:
    """Copy `buffers` (all of the network's, by name) into `network`."""
    for name, buffer in network.named_buffers():
        buffer.copy_(buffers[name])
