"""Two real workers average gradients without torch's compiler, to the last bit as torch does."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from prp_core.eager_data_parallel import COMPILER, EagerDataParallel
from prp_core.world import World
from tests.worker_group import run_workers

NUM_STEPS = 3


def trained(kind: type[nn.parallel.DistributedDataParallel], rank: int, static: bool) -> Any:
    """The weights after steps that each add up the gradients of two batches."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    wrapped = kind(network, static_graph=static, gradient_as_bucket_view=True)
    for step in range(NUM_STEPS):
        batches = torch.randn(2, 2, 5, 3, generator=torch.Generator().manual_seed(step))[:, rank]
        network.zero_grad()
        if not static:
            with wrapped.no_sync():
                wrapped(batches[0]).square().mean().backward()
        wrapped(batches[1]).square().mean().backward()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter -= 0.1 * parameter.grad
    return [parameter.detach().clone() for parameter in network.parameters()]


def work(world: World) -> dict[str, Any]:
    """Both ways in one worker, ours first."""
    ours = {static: trained(EagerDataParallel, world.rank, static) for static in (False, True)}
    is_imported = COMPILER in sys.modules, "_dynamo" in vars(torch)
    theirs = {
        static: trained(nn.parallel.DistributedDataParallel, world.rank, static)
        for static in (False, True)
    }
    after = trained(EagerDataParallel, world.rank, True)
    return {
        "ours": ours,
        "theirs": theirs,
        "after": after,
        "imported": [*is_imported, COMPILER in sys.modules],
    }


def test_the_weights_are_those_of_torchs_own_and_no_compiler_is_imported(tmp_path: Path) -> None:
    first, second = run_workers(work, tmp_path / "group")
    for answer in (first, second):
        assert answer["imported"] == [False, False, True], "torch's own way imports it"
        for static in (False, True):
            for one, other in zip(answer["ours"][static], answer["theirs"][static], strict=True):
                assert torch.equal(one, other)
        for one, other in zip(answer["after"], answer["theirs"][True], strict=True):
            assert torch.equal(one, other), "also once the compiler is there"
    assert torch.equal(first["ours"][True][0], second["ours"][True][0])
