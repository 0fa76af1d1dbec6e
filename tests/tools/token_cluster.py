"""A one-node Ray cluster with token authentication, started by `ray start --head`.

It has its own ports, temporary directory, token and home, so it disturbs no other Ray here, and
ends only its own processes. `.env` is the environment of a client that holds the token; `submit`,
`wait` and `logs` use it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from tests.tools.job_server import JobServer
from tests.tools.marked_processes import (
    MARKER_VARIABLE,
    end_marked_processes,
    free_ports,
    marked_processes,
)

BIN_DIR = Path(sys.executable).parent
RAY = str(BIN_DIR / "ray")
# A machine that runs many tests at once starves a raylet for longer than Ray forgives by default;
# it then ends the whole node.
PATIENCE = {
    "RAY_agent_register_timeout_ms": "180000",
    "RAY_health_check_timeout_ms": "60000",
    "RAY_health_check_failure_threshold": "10",
}


def clean_environment() -> dict[str, str]:
    """This process's environment without anything of Ray's: `ray.init` in a test leaves
    ``RAY_AUTH_MODE`` and more behind.

    But for one: below `uv run pytest` the cluster would start every worker of a job through uv, in
    an environment that is installed anew.
    """
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | {
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"
    }


class RayFolder:
    """The folder of one test cluster with its token in it, and the environment that holds both."""

    def __init__(self, prefix: str, extra_env: Mapping[str, str] | None = None) -> None:
        self._extra_env = dict(extra_env or {})
        self.marker = secrets.token_hex(8)
        # Short, because Ray puts unix sockets below it and a socket's path has 107 characters at
        # most.
        self.dir = Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))
        self.token_path = self.dir / "auth_token"
        self.token_path.touch(mode=0o600)
        self.token_path.write_text(secrets.token_hex(32))
        (self.dir / "home").mkdir()

    @property
    def anonymous_env(self) -> dict[str, str]:
        """The environment of somebody on this machine who holds no token, not even the one in our
        ``~/.ray``.
        """
        path = f"{BIN_DIR}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        return (
            clean_environment()
            | {
                "HOME": str(self.dir / "home"),
                "PATH": path,
                "RAY_USAGE_STATS_ENABLED": "0",
                MARKER_VARIABLE: self.marker,
            }
            | self._extra_env
        )

    @property
    def env(self) -> dict[str, str]:
        """The same with the token: by path, so that the secret itself stands in no environment."""
        return self.anonymous_env | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.token_path),
        }

    def logs(self, pattern: str) -> list[Path]:
        """Ray's own log files of the newest session here."""
        return sorted((self.dir / "session_latest" / "logs").glob(pattern))

    def remove(self) -> None:
        """End the cluster's processes, then delete the folder."""
        end_marked_processes(self.marker)
        shutil.rmtree(self.dir, ignore_errors=True)


class TokenCluster(JobServer):
    """``with TokenCluster(num_cpus=4) as cluster: cluster.wait(cluster.submit("python job.py",
    working_dir=...))``.

    `address` is what `ray.init` takes (``127.0.0.1:port``), `dashboard_url` what ``ray job submit
    --address`` takes.
    """

    def __init__(
        self,
        num_cpus: int = 2,
        *,
        object_store_memory_bytes: int = 150 << 20,
        extra_env: Mapping[str, str] | None = None,
        start_timeout_seconds: float = 180.0,
    ) -> None:
        self.num_cpus = num_cpus
        self._object_store_memory_bytes = object_store_memory_bytes
        self._start_timeout_seconds = start_timeout_seconds
        self._folder = RayFolder("ptc", extra_env)
        self._process: subprocess.Popen[bytes] | None = None
        self._log = self._folder.dir / "start.log"
        gcs, dashboard, self._client_port, self._agent_port = free_ports(4)
        self.address = f"127.0.0.1:{gcs}"
        self.dashboard_url = f"http://127.0.0.1:{dashboard}"

    @property
    def env(self) -> dict[str, str]:
        """Environment of a client that holds the token."""
        return self._folder.env

    @property
    def anonymous_env(self) -> dict[str, str]:
        """Environment of a client that holds none."""
        return self._folder.anonymous_env

    @property
    def process_ids(self) -> list[int]:
        """What is running of this cluster now, its jobs included."""
        return marked_processes(self._folder.marker)

    def __enter__(self) -> TokenCluster:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _start(self) -> None:
        host, gcs_port = self.address.split(":")
        command = [
            RAY,
            "start",
            "--head",
            "--block",
            f"--node-ip-address={host}",
            f"--port={gcs_port}",
            f"--temp-dir={self._folder.dir}",
            f"--num-cpus={self.num_cpus}",
            "--num-gpus=0",
            f"--object-store-memory={self._object_store_memory_bytes}",
            "--disable-usage-stats",
            "--include-dashboard=true",
            "--dashboard-host=127.0.0.1",
            f"--dashboard-port={self.dashboard_url.rpartition(':')[2]}",
            f"--dashboard-agent-listen-port={self._agent_port}",
            f"--ray-client-server-port={self._client_port}",
            "--min-worker-port=0",
            "--max-worker-port=0",
        ]
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                env=self.env | PATIENCE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.wait_until_it_answers(self._start_timeout_seconds)

    def check_alive(self) -> None:
        """`ray start --block` ends when one of its parts does; its log and the parts' say which."""
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"the cluster at {self.address} is dead:\n{self.diagnosis()}")

    def diagnosis(self) -> str:
        """The ends of the logs of the cluster's parts."""
        parts = [
            path
            for pattern in ("raylet.*", "gcs_server.*", "dashboard*.*")
            for path in self._folder.logs(pattern)
        ]
        return "\n".join(
            f"== {path.name}\n{path.read_text(errors='replace')[-1500:]}"
            for path in [self._log, *parts]
            if path.exists()
        )

    def stop(self) -> None:
        """End this cluster's processes (no others) and delete its folder; may be called twice."""
        self._folder.remove()
        if self._process is not None:
            self._process.wait()
