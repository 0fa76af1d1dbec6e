"""Agreement of workers: all continue, or all fail at the same place with the same cause.

A worker that raises alone leaves the others waiting in a collective call until its timeout, half an
hour later. So what can fail on one worker only (a read, a write, a reporter) runs inside
`together`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from prp_core.errors import PrpError
from prp_core.world import World

Value = TypeVar("Value")


class OtherWorkerFailed(PrpError):
    """Another worker failed; raised here so that all leave at the same step."""

    def __init__(self, rank: int, doing: str, cause: str) -> None:
        super().__init__(f"worker {rank} failed while {doing}: {cause}")
        self.rank = rank
        self.doing = doing
        self.cause = cause

    def __reduce__(self) -> tuple[type[OtherWorkerFailed], tuple[int, str, str]]:
        return (OtherWorkerFailed, (self.rank, self.doing, self.cause))


def together(world: World, doing: str, action: Callable[[], Value]) -> Value:
    """The result of `action` on this worker, once every worker has carried it out.

    Where it raised, that worker raises its own error and every other one `OtherWorkerFailed`.
    `doing` completes "failed while ...". Costs one small all-reduce when all is well and nothing at
    all when alone.
    """
    value, _ = together_asking(world, doing, action, {})
    return value


def together_asking(
    world: World, doing: str, action: Callable[[], Value], asks: Mapping[str, bool]
) -> tuple[Value, set[str]]:
    """As `together`, and what any worker asks for: of the same names on every worker those that are
    true on one. They travel in the same all-reduce.
    """
    if world.size == 1:
        return action(), {name for name, is_asked in asks.items() if is_asked}
    error: Exception | None = None
    try:
        value = action()
    # every worker is told, then it is raised again below
    except Exception as caught:  # noqa: BLE001
        error = caught
    flags = {f"asks {name}": float(is_asked) for name, is_asked in asks.items()}
    told = world.sum({"failed": float(error is not None), **flags})
    if told["failed"] > 0:
        causes = world.gather(None if error is None else f"{type(error).__name__}: {error}")
        if error is not None:
            raise error
        rank = next(rank for rank, cause in enumerate(causes) if cause is not None)
        raise OtherWorkerFailed(rank, doing, causes[rank])
    return value, {name for name in asks if told[f"asks {name}"] > 0}


def first_alone(world: World, doing: str, action: Callable[[], Value]) -> Value:
    """The result of `action`, which runs on the first worker alone, on every worker.

    `Value` is small and picklable.
    """
    value = together(world, doing, lambda: action() if world.is_first else None)
    return world.from_first(value)
