"""What workers exchange: alone, and as two real processes in a process group."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from prp_core.world import World
from tests.worker_group import run_workers


def work(world: World) -> dict[str, Any]:
    """Both pieces of work of one worker."""
    return {"exchange": exchange(world), "gradients": gradients(world)}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two workers, both real processes, answers; by rank."""
    return run_workers(work, tmp_path_factory.mktemp("world"))


def exchange(world: World) -> dict[str, object]:
    """Every word that workers have for each other, each worker saying something of its own."""
    mine = world.rank + 1.0
    world.barrier()
    return {
        "place": (world.rank, world.size, world.is_first),
        "mean": world.mean({"loss": mine, "accuracy": 0.5}),
        "sum": world.sum({"seconds": mine, "a": 0.1}),
        "sum of nothing": world.sum({}),
        "nan": world.sum({"loss": float("nan") if world.is_first else 1.0})["loss"],
        "any": (world.any(False), world.any(world.rank == 1), world.any(True)),
        "from first": world.from_first({"go on": world.is_first, "epoch": world.rank}),
        "gather": world.gather({"rank": world.rank, "keys": ["a"] * world.rank}),
    }


def test_two_workers_agree(answers: list[dict[str, Any]]) -> None:
    first, second = (dict(answer["exchange"]) for answer in answers)
    assert (first.pop("place"), second.pop("place")) == ((0, 2, True), (1, 2, False))
    assert first.pop("nan") != second.pop("nan"), (
        "nan differs from itself: a value that is not a number reaches every worker"
    )
    assert first == second
    assert first == {
        "mean": {"loss": 1.5, "accuracy": 0.5},
        "sum": {"seconds": 3.0, "a": 0.2},
        "sum of nothing": {},
        "any": (False, True, True),
        "from first": {"go on": True, "epoch": 0},
        "gather": [{"rank": 0, "keys": []}, {"rank": 1, "keys": ["a"]}],
    }


def gradients(world: World) -> dict[str, object]:
    """The gradient of a squared error over four rows, shared out over the workers."""
    torch.manual_seed(0)
    network = world.wrap(torch.nn.Linear(3, 1))
    rows = torch.arange(12.0).reshape(4, 3)
    network(rows[world.rank :: world.size]).square().mean().backward()
    return {
        name.removeprefix("module."): parameter.grad
        for name, parameter in network.named_parameters()
    }


def test_two_workers_have_the_gradient_of_one(answers: list[dict[str, Any]]) -> None:
    alone = gradients(World.alone())
    for answer in answers:
        assert answer["gradients"].keys() == alone.keys()
        for name in alone:
            torch.testing.assert_close(answer["gradients"][name], alone[name])


def test_alone_no_group_is_needed() -> None:
    world = World.alone()
    network = torch.nn.Linear(2, 2)
    assert World.of_process_group("cpu") == world
    assert (world.rank, world.size, world.is_first) == (0, 1, True)
    assert world.wrap(network) is network
    assert world.mean({"loss": 2.0}) == world.sum({"loss": 2.0}) == {"loss": 2.0}
    assert (world.any(False), world.any(True)) == (False, True)
    assert world.from_first("value") == "value" and world.gather("value") == ["value"]
    world.barrier()


@pytest.mark.parametrize(("rank", "size"), [(-1, 1), (1, 1), (0, 0)])
def test_a_place_outside_the_world_is_ours_to_fix(rank: int, size: int) -> None:
    with pytest.raises(AssertionError):
        World(rank=rank, size=size, device=torch.device("cpu"))
