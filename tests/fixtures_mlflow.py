"""MLflow for tests: a real server, one per test process, and an empty SQLite database to copy."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.tracking.local_files import locked_file

OTHER_PYTHON = "PRP_TEST_MLFLOW_PYTHON"  # a Python with another MLflow, whose server is tested
START_SECONDS = 180.0  # importing MLflow takes seconds, and more on a machine that is busy


@dataclass
class MlflowServer:
    """The server at `uri`. It can be killed and started again on the same port and the same
    files.
    """

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

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
            words = self._by_command(os.environ[OTHER_PYTHON])
        else:
            words = [sys.executable, "-m", "uvicorn", "mlflow.server.fastapi_app:app"]
            words += ["--host", "127.0.0.1", "--port", str(self.port), "--log-level", "warning"]
            environment |= self._of_the_app()
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                words, stdout=log, stderr=log, env=environment, start_new_session=True
            )
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            assert self.process.poll() is None, f"MLflow ended: {self.log_path.read_text()[-2000:]}"
            assert time.monotonic() < deadline, (
                f"MLflow did not answer within {START_SECONDS} s: "
                f"{self.log_path.read_text()[-2000:]}"
            )
            time.sleep(0.2)

    def _by_command(self, python: str) -> list[str]:
        """``mlflow server`` of the MLflow that `python` has."""
        words = [python, "-m", "mlflow", "server", "--workers", "1"]
        words += ["--host", "127.0.0.1", "--port", str(self.port)]
        words += ["--backend-store-uri", self._database_uri]
        return [*words, "--artifacts-destination", str(self.folder / "artifacts")]

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
        """Kill the server and its workers as a lost machine would."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@pytest.fixture(scope="session")
def mlflow_server(
    tmp_path_factory: pytest.TempPathFactory, empty_mlflow_database: Path
) -> Iterator[MlflowServer]:
    """The session's server; a test that kills it starts it again."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = MlflowServer(tmp_path_factory.mktemp("mlflow-server"), port)
    if OTHER_PYTHON not in os.environ:  # another MLflow has other tables
        shutil.copy(empty_mlflow_database, server.database_path)
    try:
        server.start()
        yield server
    finally:
        server.kill()


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
