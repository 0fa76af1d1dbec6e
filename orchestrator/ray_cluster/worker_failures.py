"""The errors of a worker group, read: their cause, and whether the workers' nodes were lost.

One loss shows as many errors: a worker dies, the others fail in their collective calls, and Ray
wraps each of them.
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.config.redaction import redacted

MAX_CHARACTERS = 500
NODE_LOST = ("its node has died", "node was terminated")


def failure_reason(error: BaseException) -> str:
    """The innermost cause of `error`, in one line of at most 500 characters: what a worker raised,
    rather than what its loss made the others raise.
    """
    causes = [_innermost(one) for one in _errors_in(error)]
    own = [cause for cause in causes if type(cause).__name__ not in _COLLATERAL]
    cause = (own or causes)[0]
    lines = str(cause).strip().splitlines() or [""]
    text = lines[-1] if "Traceback" in lines[0] else lines[0]
    killed = "killed: " if type(cause).__name__ in _DEATHS else ""
    return redacted(f"{killed}{type(cause).__name__}: {text}")[:MAX_CHARACTERS]


def is_nodes_failure(error: BaseException) -> bool:
    """Whether a node of the workers was lost or taken away; then the errors of the others follow
    from it. Also where the cluster had no place for the workers in time.
    """
    names = {type(one).__name__ for one in _errors_in(error)}
    if names & {"PreemptionError", "WorkerGroupStartupTimeoutError"}:
        return True
    return any(
        getattr(one, "preempted", False) or any(words in str(one) for words in NODE_LOST)
        for one in _errors_in(error)
        if type(one).__name__ in _DEATHS
    )


_DEATHS = ("ActorDiedError", "RayActorError", "ActorUnavailableError")
_COLLATERAL = (*_DEATHS, "OtherWorkerFailed", "DistBackendError", "WorkerHealthCheckFailedError")


def _errors_in(error: BaseException) -> Iterator[BaseException]:
    """`error` taken apart: those of its workers, of its controller, or itself; what Ray wraps."""
    failures = getattr(error, "worker_failures", None)
    parts = list(failures.values()) if failures else [getattr(error, "controller_failure", error)]
    for part in parts:
        part = getattr(part, "health_check_failure", part)
        yield getattr(part, "_base_exc", part)  # of what a worker's function raised


def _innermost(error: BaseException) -> BaseException:
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, BaseException) else error.__cause__ or error
