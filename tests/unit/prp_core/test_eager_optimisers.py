"""torch's optimisers without its compiler compute what torch's compute, to the last bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from prp_core.eager_optimisers import eager

KINDS: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
    "sgd": (torch.optim.SGD, {"lr": 0.01, "momentum": 0.9, "weight_decay": 1e-3}),
    "adamw": (torch.optim.AdamW, {"lr": 0.01}),
    "lbfgs": (torch.optim.LBFGS, {"line_search_fn": "strong_wolfe"}),
}


def trained(kind: type[torch.optim.Optimizer], options: dict[str, Any]) -> list[torch.Tensor]:
    """The weights after three steps, with the state saved and loaded between them."""
    torch.manual_seed(0)
    network = torch.nn.Linear(4, 3)
    inputs = torch.randn(5, 4)
    optimiser = kind(network.parameters(), **options)

    def loss() -> float:
        optimiser.zero_grad()
        value = network(inputs).square().sum()
        value.backward()
        return float(value.detach())

    for _ in range(3):
        optimiser.step(loss)
        state = optimiser.state_dict()
        optimiser = kind(network.parameters(), **options)
        optimiser.load_state_dict(state)
    assert all(parameter.requires_grad for parameter in network.parameters())
    return [parameter.detach().clone() for parameter in network.parameters()]


@pytest.mark.parametrize("name", KINDS)
def test_the_weights_are_those_of_torchs_own(name: str) -> None:
    kind, options = KINDS[name]
    before = trained(eager(kind), options)
    expected = trained(kind, options)
    eager.cache_clear()  # now of a kind whose step torch has wrapped once more
    after = trained(eager(kind), options)
    for weights in (before, after):
        assert all(torch.equal(one, other) for one, other in zip(weights, expected, strict=True))


def test_hooks_and_the_name_are_kept() -> None:
    optimiser = eager(torch.optim.SGD)([torch.nn.Parameter(torch.ones(2))], lr=0.1)
    calls: list[str] = []
    optimiser.register_step_post_hook(lambda *_: calls.append("after"))
    optimiser.step()
    assert calls == ["after"]
    assert type(optimiser).__name__ == "SGD" and isinstance(optimiser, torch.optim.SGD)
