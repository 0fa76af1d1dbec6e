"""MLflow for tests: a real server, one per test process, and an empty SQLite database to copy."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.tracking.local_files import locked_file
from tests.tools.process_state import is_there

FORKING = Path(__file__).parent / "tools" / "forked_mlflow.py"
OTHER_PYTHON = "PRP_TEST_MLFLOW_PYTHON"  # a Python with another MLflow, whose server is tested
START_SECONDS = 180.0  # importing MLflow takes seconds, and more on a machine that is busy


class MlflowForks:
    """Starts MLflow servers as forks of one process, which imports MLflow once
    (`tests/tools/forked_mlflow.py`).
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def start(self, port: int, environment: Mapping[str, str], log: Path) -> int:
        """The process id of a new server."""
        if self._process is None:
            with log.open("ab") as errors:
                self._process = subprocess.Popen(
                    [sys.executable, str(FORKING)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    env=dict(environment),
                    text=True,
                )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps([port, dict(environment), str(log)]) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"MLflow cannot be imported: {log.read_text()[-2000:]}"
        return int(answer)

    def close(self) -> None:
        """End the process; servers go on."""
        if self._process is not None:
            self._process.communicate()


@dataclass
class MlflowServer:
    """The server at `uri`. It can be killed and started again on the same port and the same
    files.
    """

    folder: Path
    port: int
    forks: MlflowForks
    process_id: int = 0
    """Zero: it does not run."""

    @property
    def uri(self) -> str:
        """The tracking URI."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log_path(self) -> Path:
        """What the server wrote to its standard output and error."""
        return self.folder / "server.log"

    def start(self) -> None:
        """Start the process and wait until it answers."""
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment = {
            **inherited,
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        if OTHER_PYTHON in os.environ:
            self.process_id = self._start_by_command(os.environ[OTHER_PYTHON], environment)
        else:
            environment |= self._of_the_app()
            self.process_id = self.forks.start(self.port, environment, self.log_path)
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            assert is_there(self.process_id), f"MLflow ended: {self.log_path.read_text()[-2000:]}"
            assert time.monotonic() < deadline, (
                f"MLflow did not answer within {START_SECONDS} s: "
                f"{self.log_path.read_text()[-2000:]}"
            )
            time.sleep(0.1)

    def _start_by_command(self, python: str, environment: Mapping[str, str]) -> int:
        """The process id of ``mlflow server`` of the MLflow that `python` has."""
        words = [python, "-m", "mlflow", "server", "--workers", "1"]
        words += ["--host", "127.0.0.1", "--port", str(self.port)]
        words += ["--backend-store-uri", self._database_uri]
        words += ["--artifacts-destination", str(self.folder / "artifacts")]
        with self.log_path.open("ab") as log:
            return subprocess.Popen(
                words, stdout=log, stderr=log, env=environment, start_new_session=True
            ).pid

    def _of_the_app(self) -> dict[str, str]:
        """What ``mlflow server`` tells the application that it starts (`mlflow.server.constants`,
        whose import would start one here). The command itself is a process more, which imports
        MLflow once more: half of a start's CPU time.
        """
        return {
            "_MLFLOW_SERVER_FILE_STORE": self._database_uri,
            "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
            "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(self.folder / "artifacts"),
            "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
            "_MLFLOW_SGI_NAME": "uvicorn",
        }

    @property
    def database_path(self) -> Path:
        """The server's own database."""
        return self.folder / "server.db"

    @property
    def _database_uri(self) -> str:
        return f"sqlite:///{self.database_path}"

    def answers(self) -> bool:
        """Whether the server is there now."""
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def kill(self) -> None:
        """Kill the server and its workers as a lost machine would; returns when it is gone."""
        if self.process_id:
            os.killpg(self.process_id, signal.SIGKILL)
            while is_there(self.process_id):
                time.sleep(0.01)
            self.process_id = 0


@pytest.fixture(scope="session")
def mlflow_server(
    tmp_path_factory: pytest.TempPathFactory, empty_mlflow_database: Path
) -> Iterator[MlflowServer]:
    """The session's server; a test that kills it starts it again."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    forks = MlflowForks()
    server = MlflowServer(tmp_path_factory.mktemp("mlflow-server"), port, forks)
    if OTHER_PYTHON not in os.environ:  # another MLflow has other tables
        shutil.copy(empty_mlflow_database, server.database_path)
    try:
        server.start()
        yield server
    finally:
        server.kill()
        forks.close()


@pytest.fixture(scope="session")
def empty_mlflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with MLflow's tables and no runs, made once for all test processes: a copy
    costs nothing, migrating a new file seconds.
    """
    from mlflow import MlflowClient  # here, or every test process imports MLflow

    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    path = shared / "empty-mlflow.db"
    with locked_file(path.with_suffix(".lock")):
        if not path.exists():
            new = path.with_suffix(".new")
            MlflowClient(f"sqlite:///{new}").search_experiments()
            new.rename(path)
    return path
