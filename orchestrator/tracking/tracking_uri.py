"""Tracking URIs: the default one, which are valid, and the web page of one."""

from __future__ import annotations

import os
import re
import shlex
from importlib.metadata import entry_points
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.config.redaction import refuse_password
from orchestrator.config.typed_command import installed
from orchestrator.tracking.local_files import SQLITE, sqlite_file
from prp_core.errors import UserError

AS_TRAINING = "?workflowType=machine_learning"
HOST_AND_PORT = re.compile(r"[A-Za-z0-9.-]+:\d+(/[^:]*)?")
SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks", "uc")
SQLITE_MAGIC = b"SQLite format 3\0"


def default_tracking_uri(state_dir: Path) -> str:
    """The URI of a sqlite database in `state_dir`, for a machine without an MLflow server."""
    return f"{SQLITE}{Path(state_dir).resolve() / 'mlflow.db'}"


def artifact_root_of(tracking_uri: str) -> str | None:
    """The artifact location of a new experiment: beside a sqlite file; None: the server decides."""
    database = sqlite_file(tracking_uri)
    return None if database is None else (database.parent / "mlartifacts").as_uri()


def ui_command(tracking_uri: str, port: int = 5000) -> str:
    """The command, or the address, that opens the MLflow page of `tracking_uri`."""
    if tracking_uri.startswith(("http://", "https://")):
        return tracking_uri
    return installed(
        f"mlflow ui --backend-store-uri {shlex.quote(tracking_uri)} --workers 1 --port {port}"
    )


def run_page(tracking_uri: str, experiment_id: str, run_id: str, port: int = 5000) -> str:
    """The address of a run in the page that `ui_command` opens.

    Without the last word MLflow shows it among evaluations of chats, not among training runs.
    """
    server = server_of(tracking_uri, port)
    return f"{server}/#/experiments/{experiment_id}/runs/{run_id}{AS_TRAINING}"


def server_of(tracking_uri: str, port: int = 5000) -> str:
    """The address of the server that shows `tracking_uri`: itself, or the one on this machine that
    `ui_command` starts.
    """
    if tracking_uri.startswith(("http://", "https://")):
        return tracking_uri.rstrip("/")
    return f"http://127.0.0.1:{port}"


def check_usable(tracking_uri: str) -> None:
    """Raise `UserError` for an invalid URI, without a request and without importing MLflow."""
    refuse_password("The MLflow URI", tracking_uri)
    if HOST_AND_PORT.fullmatch(tracking_uri):
        raise UserError(
            f"MLflow URI {tracking_uri!r} has no scheme; write http://{tracking_uri} (or https://)"
        )
    scheme = tracking_uri.split(":", 1)[0] if ":" in tracking_uri else ""
    if scheme in ("", "file"):
        default = default_tracking_uri(Path())
        raise UserError(
            f"MLflow URI {tracking_uri!r} is a folder; this MLflow keeps runs in a "
            f"database: use {default} or http://HOST:PORT"
        )
    if scheme == "sqlite":
        _check_sqlite(tracking_uri)
    elif scheme.split("+")[0] not in SCHEMES and not _is_plugin(scheme):
        raise UserError(
            f"MLflow URI {tracking_uri!r}: MLflow knows no {scheme}: URIs; write "
            "http://HOST:PORT, or sqlite:////absolute/path/mlflow.db"
        )
    elif scheme in ("http", "https") and not urlsplit(tracking_uri).hostname:
        raise UserError(f"MLflow URI {tracking_uri!r} names no host; write http://HOST:PORT")


def _is_plugin(scheme: str) -> bool:
    return scheme in entry_points(group="mlflow.tracking_store").names


def _check_sqlite(tracking_uri: str) -> None:
    name = tracking_uri.removeprefix(SQLITE).split("?")[0]
    if not tracking_uri.startswith(SQLITE) or name in ("", ":memory:"):
        raise UserError(
            f"MLflow URI {tracking_uri!r} names no file; write "
            "sqlite:////absolute/path/mlflow.db (four slashes)"
        )
    file = sqlite_file(tracking_uri)
    assert file is not None, tracking_uri
    folder = file.parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(
            f"MLflow URI {tracking_uri!r}: {folder} is not a writable folder; choose another place"
        )
    if not file.exists():
        return
    if not file.is_file() or not os.access(file, os.R_OK | os.W_OK):
        raise UserError(
            f"MLflow URI {tracking_uri!r}: {file} cannot be written; choose another place"
        )
    with file.open("rb") as stream:
        head = stream.read(len(SQLITE_MAGIC))
    if head not in (b"", SQLITE_MAGIC):
        raise UserError(
            f"MLflow URI {tracking_uri!r}: {file} is not an SQLite database; choose another place"
        )
