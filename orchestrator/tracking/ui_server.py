"""MLflow's web page for a tracking URI: the server that there is, or one that is started here."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from typing import IO

from orchestrator.config.typed_command import prp
from orchestrator.tracking.local_files import sqlite_file
from orchestrator.tracking.mlflow_client import connect, limit_requests, retry
from orchestrator.tracking.saved_view import VIEW_TAG, link_to_runs, link_to_view, view_key
from orchestrator.tracking.tracking_uri import check_usable
from prp_core.closed_at_exit import ClosedAtExit
from prp_core.errors import PrpError, UserError

HOST = "127.0.0.1"
START_SECONDS = 90.0
LOOK_SECONDS = 0.2
END_SECONDS = 20.0
TIMEOUT_SECONDS = 15.0
LAST_CHARACTERS = 300


class MlflowUi(ClosedAtExit):
    """The page of `tracking_uri`. As a context it is served: by a server of ours on `port` (or a
    free one) where the runs are in a file, else by the one that the URI names.
    """

    def __init__(self, tracking_uri: str, port: int) -> None:
        """Raises `UserError` for a URI that cannot be used, or a file that is not there."""
        check_usable(tracking_uri)
        database = sqlite_file(tracking_uri)
        if database is not None and not database.exists():
            raise UserError(f"There is no MLflow database at {tracking_uri}: nothing was sent yet")
        self._uri = tracking_uri
        self.is_ours = not tracking_uri.startswith(("http://", "https://"))
        self._port = (port if is_free(port) else free_port()) if self.is_ours else 0
        self._process: subprocess.Popen[bytes] | None = None
        # A file, because nobody reads while the server runs: a full pipe would stop it.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115

    @property
    def server(self) -> str:
        """The server's address."""
        return f"http://{HOST}:{self._port}" if self.is_ours else self._uri.rstrip("/")

    def link(self, experiment: str, sweep_id: str, objective: str) -> str:
        """The address of the sweep's saved view; of its runs by `objective` where it has none.

        Raises `UserError` where MLflow knows no such experiment, `TrackerUnavailable`.
        """
        limit_requests()
        client = connect(self._uri)
        found = retry(lambda: client.get_experiment_by_name(experiment), self._uri, TIMEOUT_SECONDS)
        if found is None:
            raise UserError(
                f"MLflow at {self._uri} knows no experiment {experiment!r} yet; "
                f"`{prp(f'publish {sweep_id}')}` sends what waits"
            )
        if VIEW_TAG + view_key(sweep_id) in found.tags:
            return link_to_view(self.server, found.experiment_id, sweep_id)
        return link_to_runs(self.server, found.experiment_id, objective, sweep_id)

    def __enter__(self) -> MlflowUi:
        if self.is_ours:
            self._process = start_server(self._uri, self._port, self._log)
            try:
                self._wait_until_up(self._process)
            except BaseException:  # also Ctrl-C: nobody else would end it
                self.close()
                raise
        return self

    def close(self) -> None:
        """End the server that was started here, all of its processes."""
        if self._process is not None:
            end_group(self._process)
        self._log.close()

    def wait(self) -> None:
        """Until the server ends. Raises `PrpError` then, `KeyboardInterrupt` at Ctrl-C."""
        if self._process is None:
            return
        code = self._process.wait()
        raise PrpError(
            f"MLflow's server at {self.server} ended by itself (exit code {code}); what it "
            "showed is kept: start it again with the same command"
        )

    def _wait_until_up(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not is_up(self.server):
            if process.poll() is not None or time.monotonic() > deadline:
                self._log.seek(0)
                said = self._log.read().decode(errors="replace")
                raise UserError(
                    f"MLflow's server did not start on port {self._port}: "
                    f"{said.strip()[-LAST_CHARACTERS:] or 'it said nothing'}"
                )
            time.sleep(LOOK_SECONDS)


def start_server(tracking_uri: str, port: int, log: IO[bytes]) -> subprocess.Popen[bytes]:
    """MLflow's server on the database at `tracking_uri`, for this machine alone; it writes to
    `log`. Without the eight processes that would wait for jobs of MLflow's own, which PRP has not.
    """
    command = [
        *(sys.executable, "-P", "-m", "mlflow", "server"),
        *("--backend-store-uri", tracking_uri, "--host", HOST, "--port", str(port)),
        *("--workers", "1"),
    ]
    return subprocess.Popen(
        command,
        env={
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            **os.environ,
            "MLFLOW_DISABLE_TELEMETRY": "true",
        },
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,  # a group of its own, which can be ended as a whole
    )


def end_group(leader: subprocess.Popen[bytes]) -> None:
    """End the processes of the group of `leader`, which may have ended before them."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        leader.wait(timeout=END_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader.pid, signal.SIGKILL)
    leader.wait()


def is_up(server: str) -> bool:
    """Whether an MLflow server answers at `server`."""
    try:
        with urllib.request.urlopen(f"{server}/health", timeout=2) as answer:
            return int(answer.status) == 200
    except (OSError, urllib.error.URLError):
        return False


def is_free(port: int) -> bool:
    """Whether nothing listens on `port` of this machine."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port of this machine on which nothing listens."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
