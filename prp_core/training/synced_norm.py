"""Batch norm over the clips of all workers, for several workers that are to learn as one does.

Torch has one for GPUs alone. This one sums over any process group, and its gradient crosses the
workers as well, so that two workers' losses and weights are those of one but for rounding.
"""

from __future__ import annotations

import torch
from torch import nn

from prp_core.world import World


class SyncedBatchNorm3d(nn.BatchNorm3d):
    """As `nn.BatchNorm3d`; in training mean and variance are those of all workers' values.

    Parameters, buffers and their names are the same. Every worker calls it at the same place.
    """

    def __init__(self, norm: nn.BatchNorm3d, world: World) -> None:
        super().__init__(norm.num_features, eps=norm.eps, momentum=norm.momentum)
        self.weight = norm.weight
        self.bias = norm.bias
        self.running_mean = norm.running_mean
        self.running_var = norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked
        self._world = world

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(B, C, T, H, W), normalised; computed in at least float32, returned as it came."""
        if not self.training:
            return super().forward(input)
        axes = (0, 2, 3, 4)
        values = input.to(torch.promote_types(input.dtype, torch.float32))
        own_count = values.new_full((1,), values.numel() / values.shape[1])
        totals = self._world.sum_with_gradient(torch.cat([values.sum(axes), own_count]))
        count = totals[-1].detach()
        mean = totals[:-1] / count
        centred = values - _as_channels(mean)
        variance = self._world.sum_with_gradient(centred.square().sum(axes)) / count
        self._count_batch(mean, variance * (count / (count - 1)))
        scale = self.weight * (variance + self.eps).rsqrt()
        output = centred * _as_channels(scale) + _as_channels(self.bias)
        return output.to(input.dtype)

    @torch.no_grad()
    def _count_batch(self, mean: torch.Tensor, unbiased_variance: torch.Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(unbiased_variance, self.momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)


def _as_channels(values_C: torch.Tensor) -> torch.Tensor:
    return values_C[None, :, None, None, None]


def sync_norms(network: nn.Module, world: World) -> None:
    """Replace each batch norm of `network` by one over all workers of `world`, in place."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm3d):
                synced = SyncedBatchNorm3d(child, world).train(child.training)
                setattr(module, name, synced)
