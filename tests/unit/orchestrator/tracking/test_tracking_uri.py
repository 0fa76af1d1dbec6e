"""Tracking URIs: which are refused with what to use instead, and the page of a run."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from orchestrator.config.typed_command import installed, prp
from orchestrator.tracking import (
    check_tracking,
    default_tracking_uri,
    run_page,
    start_check,
    ui_command,
)
from prp_core.errors import UserError


@pytest.mark.parametrize("uri", ["./mlruns", "mlruns", "file:///tmp/mlruns", ""])
def test_folders_are_refused_with_what_to_use_instead(uri: str) -> None:
    with pytest.raises(
        UserError,
        match=r"is a folder; this MLflow keeps runs in a database: use "
        r"sqlite:////.*/mlflow\.db or http://HOST:PORT",
    ):
        check_tracking(uri, "demo")


@pytest.mark.parametrize("uri", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "http://"])
def test_addresses_that_name_nothing_are_refused(uri: str) -> None:
    with pytest.raises(UserError, match=r"names no (file|host)"):
        check_tracking(uri, "demo")


@pytest.mark.parametrize("uri", ["ftp://host/x", "htp://host:5000", "s3://bucket/mlflow"])
def test_schemes_that_mlflow_does_not_know_are_refused(uri: str) -> None:
    scheme = uri.partition(":")[0]
    with pytest.raises(UserError, match=f"MLflow knows no {scheme}: URIs; write http://HOST:PORT"):
        check_tracking(uri, "demo")


def test_a_sqlite_file_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a database at all")
    with pytest.raises(UserError, match=r"is not an SQLite database; choose another place"):
        check_tracking(f"sqlite:///{tmp_path / 'text'}", "demo")
    with pytest.raises(UserError, match=r"text is not a writable folder"):
        check_tracking(f"sqlite:///{tmp_path / 'text' / 'mlflow.db'}", "demo")
    with pytest.raises(UserError, match=r"cannot be written"):
        check_tracking(f"sqlite:///{tmp_path}", "demo")
    check_tracking(default_tracking_uri(tmp_path / "new" / "state"), "demo")
    assert not (tmp_path / "new").exists()


def test_a_server_that_is_away_or_silent_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(start_check, "ANSWER_SECONDS", 1)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        (refused,) = check_tracking(uri, "demo")
        silent.listen()
        (timed_out,) = check_tracking(uri, "demo")
    end = "the sweep goes on without it; its pending records are kept in the sweep's storage"
    assert re.match(rf"MLflow at {uri} does not answer \(.*refused.*\): {end}", refused)
    assert re.match(rf"MLflow at {uri} does not answer \(.*(timed out|no answer)", timed_out)
    assert "\n" not in refused + timed_out


def test_a_folder_of_artifacts_that_cannot_be_written_to_is_said(tmp_path: Path) -> None:
    (tmp_path / "mlartifacts").write_text("a file is in the way")
    (line,) = check_tracking(f"sqlite:///{tmp_path / 'mlflow.db'}", "demo")
    assert f"{tmp_path / 'mlartifacts'} cannot be written to" in line
    assert "report, showcases and encoder" in line and f"`{prp('publish')}` sends them" in line


def test_the_line_that_opens_the_page() -> None:
    assert ui_command("http://host:5000") == "http://host:5000"
    assert ui_command("sqlite:////a b/mlflow.db", 5001) == installed(
        "mlflow ui --backend-store-uri 'sqlite:////a b/mlflow.db' --workers 1 --port 5001"
    )
    path = "/#/experiments/1/runs/abc?workflowType=machine_learning"
    assert run_page("http://host:5000/", "1", "abc") == f"http://host:5000{path}"
    assert run_page("sqlite:////a/mlflow.db", "1", "abc", 5001) == f"http://127.0.0.1:5001{path}"
