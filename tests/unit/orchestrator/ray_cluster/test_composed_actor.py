"""A composed actor passes each call to the part that it names, and to nothing else."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from orchestrator.ray_cluster.composed_actor import Call, ComposedActor, PartHandle


class Counter:
    """A part with a state."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, number: int, *, times: int = 1) -> int:
        self.count += number * times
        return self.count

    def _secret(self) -> int:
        return self.count


class Two(ComposedActor):
    """An actor of two counters, and of something that is no part."""

    PARTS = ("left", "right")

    def __init__(self) -> None:
        self.left = Counter()
        self.right = Counter()
        self.inside = Counter()


class ActorHandle:
    """Stands in for Ray's handle: calls in this process, and keeps the names of the calls."""

    def __init__(self, actor: ComposedActor) -> None:
        self.actor = actor
        self.names: list[str] = []

    @property
    def call(self) -> ActorHandle:
        return self

    def options(self, *, name: str) -> ActorHandle:
        self.names.append(name)
        return self

    def remote(self, call: Call) -> Any:
        return self.actor.call(pickle.loads(pickle.dumps(call)))  # noqa: S301


def test_each_part_answers_for_itself() -> None:
    actor = ActorHandle(Two())
    left = PartHandle(actor, "left")
    right = PartHandle(actor, "right")
    assert [left.add.remote(2), right.add.remote(3, times=2), left.add.remote(1)] == [2, 6, 3]
    assert actor.names == ["left.add", "right.add", "left.add"], "as Ray shows them"


@pytest.mark.parametrize("call", [Call("inside", "add", (1,)), Call("left", "_secret")], ids=str)
def test_what_is_no_part_and_what_is_private_is_not_called(call: Call) -> None:
    with pytest.raises(AssertionError):
        Two().call(call)


def test_a_handle_can_be_sent() -> None:
    handle = PartHandle("a handle of Ray's", "left")
    assert pickle.loads(pickle.dumps(handle)) == handle == copy.deepcopy(handle)  # noqa: S301
