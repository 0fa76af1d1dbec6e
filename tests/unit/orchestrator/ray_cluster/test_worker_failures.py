"""What Ray's errors of a lost worker group are read as, on Ray's own classes."""

from __future__ import annotations

import pytest
from ray.exceptions import ActorDiedError, RayActorError
from ray.train import ControllerError, WorkerGroupError
from ray.train.v2._internal.exceptions import (
    UserExceptionWithTraceback,
    WorkerGroupStartupTimeoutError,
    WorkerHealthCheckFailedError,
)

from orchestrator.ray_cluster.worker_failures import failure_reason, is_nodes_failure
from prp_core.agreement import OtherWorkerFailed
from prp_core.errors import StoreUnavailable


def raised(error: Exception) -> UserExceptionWithTraceback:
    """`error` as Ray Train returns it of a worker's function."""
    return UserExceptionWithTraceback(error, f"Traceback (most recent call last):\n{error}")


def died(text: str = "", *, preempted: bool = False) -> WorkerHealthCheckFailedError:
    """A worker that answers no more."""
    actor = RayActorError(error_msg=text or "The actor died unexpectedly.", preempted=preempted)
    return WorkerHealthCheckFailedError("A worker health check failed.", actor)


LOST_NODE = "The actor died unexpectedly.\nThe actor died because its node has died. Node Id: ab"
CASES = {
    "a worker raised": (
        WorkerGroupError(
            "failed",
            {
                0: raised(OtherWorkerFailed(1, "reading videos", "StoreUnavailable: s3://b")),
                1: raised(StoreUnavailable("s3://b/a.mp4: no answer")),
            },
        ),
        "StoreUnavailable: s3://b/a.mp4: no answer",
        False,
    ),
    "a worker was killed": (
        WorkerGroupError("failed", {0: died()}),
        "killed: RayActorError: The actor died unexpectedly.",
        False,
    ),
    "a node was lost, and the other worker noticed": (
        WorkerGroupError("failed", {0: raised(RuntimeError("closed by peer")), 1: died(LOST_NODE)}),
        "RuntimeError: closed by peer",
        True,
    ),
    "a node was reclaimed": (
        WorkerGroupError("failed", {0: died(preempted=True)}),
        "killed: RayActorError: The actor died unexpectedly.",
        True,
    ),
    "the controller was killed": (
        ActorDiedError(),
        "killed: ActorDiedError: The actor died unexpectedly before finishing this task.",
        False,
    ),
    "the cluster had no place": (
        ControllerError(WorkerGroupStartupTimeoutError(2)),
        "WorkerGroupStartupTimeoutError: The worker group startup timed out after",
        True,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_cause_is_named_and_a_lost_node_is_told_from_a_failure(case: str) -> None:
    error, reason, is_nodes = CASES[case]
    assert failure_reason(error).startswith(reason)
    assert is_nodes_failure(error) is is_nodes


def test_an_error_of_our_own_is_one_line() -> None:
    assert failure_reason(StoreUnavailable("s3://b: no answer\nfor 60 s")) == (
        "StoreUnavailable: s3://b: no answer"
    )
