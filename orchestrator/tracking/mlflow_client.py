"""The MLflow client: imported late, with short requests and errors told temporary or permanent."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from typing import Any, TypeVar

from orchestrator.tracking.local_files import locked_file, sqlite_file
from prp_core.errors import PrpError

Result = TypeVar("Result")

REQUEST_SECONDS = 20
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 10.0
NUM_TRIES = 3  # of a call whose reply may have been lost
REPEAT_SECONDS = 2.0

# The error codes of MLflow that no retry can cure. Everything else (no connection, 5xx, a locked
# database, 401 of a token that is being renewed, a proxy's own 404 page) is temporary.
PERMANENT = {
    "INVALID_PARAMETER_VALUE",
    "RESOURCE_DOES_NOT_EXIST",
    "RESOURCE_ALREADY_EXISTS",
    "INVALID_STATE",
    "BAD_REQUEST",
}
REFUSALS = {"PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED"}


class TrackerUnavailable(PrpError):
    """MLflow did not answer before the deadline; the text names its URI and the last error."""


class Refused(PrpError):
    """MLflow refuses for a reason that a person can undo: a deleted experiment or run, credentials,
    a store of artifacts that cannot be written to. What was to be sent is kept and tried again.
    """


def limit_requests() -> None:
    """Make this process's MLflow requests short, silent and without retries of their own.

    MLflow reads these from the environment at every request. Its own retries repeat a `create_run`
    whose reply was lost, which makes a second run; ours look for the first one before they create
    again.
    """
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(REQUEST_SECONDS)
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"


def connect(tracking_uri: str) -> Any:
    """An `mlflow.MlflowClient` for runs and registered models; importing MLflow takes seconds."""
    # Its thread changes the environment while MLflow's own requests read it, which fails some of
    # them.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    database = sqlite_file(tracking_uri)
    lock: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    if database is not None:
        database.parent.mkdir(parents=True, exist_ok=True)
        # MLflow creates and migrates a database without a lock, and of two processes at once one
        # fails. In a folder that cannot be written to there is nothing to create.
        if os.access(database.parent, os.W_OK):
            lock = locked_file(database.with_name(f"{database.name}.lock"))
    with lock:
        return MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


def is_temporary(error: Exception) -> bool:
    """Whether a retry may help."""
    code = getattr(error, "error_code", None)
    if code is not None:
        return code not in PERMANENT
    return isinstance(error, OSError)  # also every error of `requests`


def is_refusal(error: Exception) -> bool:
    """Whether MLflow refused the credentials."""
    return getattr(error, "error_code", None) in REFUSALS


def first_line(error: Exception) -> str:
    """The error as one line of at most 300 characters."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]


def root_cause(error: BaseException) -> str:
    """The error that was the first one, as one line: why a server does not answer."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return first_line(error) if isinstance(error, Exception) else repr(error)


def repeated(call: Callable[[], Result]) -> Result:
    """The result of `call`, which is tried again at once where its reply was lost; for a call that
    may be repeated. A server that is away or silent for seconds is not asked again.
    """
    deadline = time.monotonic() + REPEAT_SECONDS
    for _ in range(NUM_TRIES - 1):
        try:
            return call()
        except Exception as error:
            if not is_temporary(error) or is_refusal(error) or time.monotonic() > deadline:
                raise
    return call()


def retry(call: Callable[[], Result], tracking_uri: str, timeout_seconds: float) -> Result:
    """The result of `call`, retried with exponential back-off while its errors are temporary.

    `call` must be safe to repeat when its reply is lost. Raises `TrackerUnavailable` after
    `timeout_seconds`, other errors at once.
    """
    deadline = time.monotonic() + timeout_seconds
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            return call()
        except Exception as error:
            if not is_temporary(error) or is_refusal(error):
                raise
            if time.monotonic() + pause > deadline:
                raise TrackerUnavailable(
                    f"MLflow at {tracking_uri} did not answer for "
                    f"{timeout_seconds:.0f} s: {first_line(error)}"
                ) from error
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
