"""What MLflow can take, asked before a sweep spends anything: a run, a file, a registered model.

A tracking URI that cannot be used is an error. An MLflow that is away is none: what it is to be
told waits in the sweep's storage. What else is wrong with it is a line that says which ending of
the sweep will be missing there.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from orchestrator.config.typed_command import prp
from orchestrator.journal.open_runs import note_runs_at
from orchestrator.tracking.delivery import log_file
from orchestrator.tracking.experiment import open_experiment
from orchestrator.tracking.mlflow_client import Refused, connect, limit_requests, root_cause
from orchestrator.tracking.run_owner import owner_tags
from orchestrator.tracking.tags import PROBE, ROLE_TAG
from orchestrator.tracking.tracking_uri import artifact_root_of, check_usable
from prp_core.errors import UserError

ANSWER_SECONDS = 8.0
FIRST_WITH_MODELS = 3  # of MLflow's versions: it stores models apart from runs
MODEL_PREFIX = "prp-probe-"
STALE_SECONDS = 600  # no start takes so long between a model and its removal
KEPT = "kept in the sweep's storage"


class _Away(Exception):
    """MLflow does not answer; the text says why."""


def check_tracking(tracking_uri: str, experiment: str) -> list[str]:
    """A line for each thing that MLflow at `tracking_uri` will not take of a sweep that is tracked
    in `experiment`; takes about 10 s at most.

    A sqlite file is only looked at. A server is asked with the credentials that MLflow's own
    variables give; what is made there is removed again. Raises `UserError` for a URI that cannot be
    used.
    """
    check_usable(tracking_uri)
    if not tracking_uri.startswith(("http://", "https://")):
        return _check_folder(artifact_root_of(tracking_uri))
    # Imported before the clock starts: it takes seconds.
    from mlflow.utils.credentials import get_default_host_creds

    limit_requests()
    credentials = get_default_host_creds(tracking_uri)
    client = connect(tracking_uri)
    lines: list[str] = []

    def ask() -> None:
        _check_server(tracking_uri, credentials)
        lines.extend(_check_version(credentials))
        lines.extend(_check_run(client, tracking_uri, experiment))
        lines.extend(_check_model(client))

    try:
        _within(ANSWER_SECONDS + 2, ask)
    except _Away as away:
        lines.append(
            f"MLflow at {tracking_uri} does not answer ({away}): the sweep goes on without it; "
            f"its pending records are {KEPT} and sent when it is back"
        )
    return lines


def _check_folder(artifact_root: str | None) -> list[str]:
    """Whether the folder of artifacts beside a sqlite file can be written to."""
    if artifact_root is None:
        return []
    wanted = folder = Path(unquote(urlsplit(artifact_root).path))
    while not folder.exists():
        folder = folder.parent
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        return []
    return [_without_files(f"{wanted} cannot be written to")]


def _without_files(reason: str) -> str:
    return (
        f"MLflow does not accept the report, showcases and encoder of this sweep ({reason}): "
        f"they are {KEPT}; `{prp('publish')}` sends them when that is repaired"
    )


def _check_server(tracking_uri: str, credentials: Any) -> None:
    """Raise `UserError` for what is not MLflow or refuses us, `_Away` for no answer."""
    try:
        answer = _post(credentials, "/api/2.0/mlflow/experiments/search", {"max_results": 1})
    except Exception as error:
        raise _Away(root_cause(error)) from error
    if answer.status_code in (401, 403):
        problem = (
            f"it refuses these credentials (HTTP {answer.status_code}); see "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_TOKEN"
        )
    elif answer.status_code in (500, 502, 503, 504):
        raise _Away(f"HTTP {answer.status_code}")
    elif answer.status_code != 200:
        problem = f"it answers HTTP {answer.status_code}"
    elif not answer.text.lstrip().startswith("{"):
        problem = "what answers there is not MLflow"
    else:
        return
    raise UserError(
        f"Cannot use MLflow at {tracking_uri}: {problem}. Check --mlflow; without the option a "
        "local database is used"
    )


def _check_version(credentials: Any) -> list[str]:
    from mlflow.utils.rest_utils import http_request

    answer = http_request(
        host_creds=credentials,
        endpoint="/version",
        method="GET",
        timeout=ANSWER_SECONDS,
        max_retries=0,
        raise_on_status=False,
    )
    version = answer.text.strip()
    major = version.partition(".")[0]
    if answer.status_code != 200 or not major.isdigit() or int(major) >= FIRST_WITH_MODELS:
        return []
    return [
        f"MLflow {version} is older than {FIRST_WITH_MODELS}.0 and cannot register the encoder of "
        f"this sweep, which is {KEPT}"
    ]


def _check_run(client: Any, tracking_uri: str, experiment: str) -> list[str]:
    """Make a run with a file and remove both."""
    note = note_runs_at(tracking_uri)
    try:
        experiment_id = open_experiment(client, tracking_uri, experiment, None)
        tags = {ROLE_TAG: PROBE, **owner_tags()}
        run = client.create_run(experiment_id, tags=tags, run_name="probe")
    # whatever a server says to its first run, the person is told
    except Exception as error:  # noqa: BLE001
        reason = str(error) if isinstance(error, Refused) else root_cause(error)
        return [
            f"MLflow accepts no run of this sweep at the moment ({reason}): "
            f"its pending records are {KEPT} and sent when that is repaired"
        ]
    try:
        log_file(client, run.info.run_id, "probe.txt", b"can be written")
        lines = []
    # a store of artifacts is any library's
    except Exception as error:  # noqa: BLE001
        lines = [_without_files(root_cause(error))]
    with contextlib.suppress(Exception):  # a file of 14 bytes in a deleted run
        client._tracking_client._get_artifact_repo(run.info.run_id).delete_artifacts("probe.txt")
    with contextlib.suppress(Exception):
        client.delete_run(run.info.run_id)
        note.remove()
    return lines


def _check_model(client: Any) -> list[str]:
    """Register a model and remove it."""
    try:
        made = client.create_registered_model(f"{MODEL_PREFIX}{secrets.token_hex(4)}")
        client.delete_registered_model(made.name)
    # whatever a registry says, the person is told
    except Exception as error:  # noqa: BLE001
        return [
            f"MLflow will not register the encoder of this sweep ({root_cause(error)}), which is "
            f"{KEPT}"
        ]
    with contextlib.suppress(Exception):  # a later start removes them
        _remove_stale_models(client, made.creation_timestamp)
    return []


def _remove_stale_models(client: Any, now: int) -> None:
    """Remove the models of starts that were killed before they did; `now` is in milliseconds by
    the server's clock.
    """
    for model in client.search_registered_models(f"name LIKE '{MODEL_PREFIX}%'"):
        if now - model.creation_timestamp > 1000 * STALE_SECONDS:
            client.delete_registered_model(model.name)


def _post(credentials: Any, endpoint: str, body: dict[str, Any]) -> Any:
    from mlflow.utils.rest_utils import http_request

    return http_request(
        host_creds=credentials,
        endpoint=endpoint,
        method="POST",
        json=body,
        timeout=ANSWER_SECONDS,
        max_retries=0,
        raise_on_status=False,
    )


def _within(seconds: float, call: Callable[[], None]) -> None:
    """Do `call` in a thread, for no longer than that; raises what it raises, else `_Away`. A name
    may resolve slowly, whatever the limit of a request.
    """
    errors: list[Exception] = []
    done = threading.Event()

    def run() -> None:
        try:
            call()
        # raised again by whoever waits
        except Exception as error:  # noqa: BLE001
            errors.append(error)
        done.set()

    threading.Thread(target=run, daemon=True).start()
    if not done.wait(seconds):
        raise _Away(f"no answer within {seconds:.0f} s")
    if errors:
        raise errors[0]
