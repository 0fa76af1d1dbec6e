"""Ray tasks over a list of work, a bounded number of them submitted ahead."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import ray

from orchestrator.ray_cluster.worker_failures import failure_reason
from prp_core.errors import PrpError, StoreUnavailable

MIN_TASKS_AHEAD = 16  # more than a small cluster runs, so that an autoscaler sees the demand
TASK_OPTIONS = {"max_retries": 3, "retry_exceptions": [StoreUnavailable]}

Planned = TypeVar("Planned")


def results_of_tasks(
    task: Any, job: Any, pending: Sequence[Planned], failed: Callable[[Planned], str]
) -> Iterator[tuple[Planned, Any]]:
    """``task(job, planned)`` of each of `pending` on the connected Ray cluster: what was planned
    and its result, in the order in which they end.

    Raises the first permanent error: a `PrpError` of the task itself, or one that begins with
    `failed` of what was planned, where Ray could not run it.
    """
    running: dict[Any, Planned] = {}
    left = list(reversed(pending))
    while left or running:
        num_ahead = max(MIN_TASKS_AHEAD, 2 * int(ray.cluster_resources().get("CPU", 1)))
        while left and len(running) < num_ahead:
            planned = left.pop()
            running[task.remote(job, planned)] = planned
        for future in ray.wait(list(running))[0]:
            planned = running.pop(future)
            yield planned, _result(future, failed(planned))


def _result(future: Any, failed: str) -> Any:
    try:
        return ray.get(future)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, PrpError):
            raise error.cause from None
        raise
    except ray.exceptions.RayError as error:
        raise PrpError(
            f"{failed}: {failure_reason(error)}; run the same command again to go on"
        ) from error
