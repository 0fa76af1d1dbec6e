"""MLflow for tests: a real server, one per test process, and an empty SQLite database to copy."""

from __future__ import annotations

import os
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
        words = [
            os.environ.get(OTHER_PYTHON, sys.executable),
            "-m",
            "mlflow",
            "server",
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--workers",
            "1",
        ]
        words += [
            "--backend-store-uri",
            f"sqlite:///{self.folder / 'server.db'}",
            "--artifacts-destination",
            str(self.folder / "artifacts"),
        ]
        environment = {
            **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
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
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """The session's server; a test that kills it starts it again."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = MlflowServer(tmp_path_factory.mktemp("mlflow-server"), port)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="session")
def empty_mlflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with MLflow's tables and no runs: a copy costs nothing, migrating a new file
    seconds.
    """
    from mlflow import MlflowClient  # here, or every test process imports MLflow

    path = tmp_path_factory.mktemp("mlflow-database") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path
