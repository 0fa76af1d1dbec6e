"""Recomputation: activations of blocks are computed again in the backward pass, not kept.

Losses, gradients and batch norm's running statistics are those of a step that keeps them; a step
takes about a third longer and holds the inputs of blocks alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from prp_core.encoders.r2plus1d import FactorisedConvolution
from prp_core.encoders.residual import ResidualBlock
from prp_core.pretext.heads import Doubling

BLOCKS = (ResidualBlock, FactorisedConvolution, Doubling, nn.Sequential)


def recompute_blocks(network: nn.Module) -> int:
    """Let the outermost blocks of `network` recompute their activations; how many there are."""
    blocks = list(outermost_blocks(network))
    for block in blocks:
        block.forward = partial(_recomputed, block, block.forward)
    return len(blocks)


def outermost_blocks(network: nn.Module) -> Iterator[nn.Module]:
    """The modules of `BLOCKS` that lie in no other one."""
    for child in network.children():
        if isinstance(child, BLOCKS):
            yield child
        else:
            yield from outermost_blocks(child)


def _recomputed(block: nn.Module, forward: Any, *arguments: Any, **named: Any) -> Any:
    if not block.training:
        return forward(*arguments, **named)

    def contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
        return nullcontext(), _without_running_statistics(block)

    return checkpoint(
        forward,
        *arguments,
        use_reentrant=False,
        preserve_rng_state=False,  # no layer draws
        context_fn=contexts,
        **named,
    )


@contextmanager
def _without_running_statistics(block: nn.Module) -> Iterator[None]:
    """Batch norm counts a batch once, not again when its activations are recomputed."""
    norms = [module for module in block.modules() if isinstance(module, nn.BatchNorm3d)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
        norm.num_batches_tracked = None
    try:
        yield
    finally:
        for norm, (momentum, num_batches) in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked = num_batches
