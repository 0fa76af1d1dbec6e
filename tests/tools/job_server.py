"""Ray's job server on a test cluster: submitting a job, waiting for it, reading its log."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

BIN_DIR = Path(sys.executable).parent
FINAL_STATES = ("SUCCEEDED", "FAILED", "STOPPED")
START_SECONDS = 180.0


class JobServer(ABC):
    """A cluster that takes jobs; `dashboard_url` is what ``ray job submit --address`` takes."""

    dashboard_url: str

    @property
    @abstractmethod
    def env(self) -> dict[str, str]:
        """Environment of a client that holds the token."""

    @property
    def token(self) -> str:
        """The token itself."""
        return Path(self.env["RAY_AUTH_TOKEN_PATH"]).read_text()

    @abstractmethod
    def diagnosis(self) -> str:
        """The ends of the logs of the cluster's parts."""

    def check_alive(self) -> None:  # noqa: B027  (a cluster may not know)
        """Raise `RuntimeError` when the cluster is known to be dead."""

    def wait_until_it_answers(self, timeout_seconds: float = START_SECONDS) -> None:
        """Wait for the job server. Raises `RuntimeError` with the logs when it does not come."""
        deadline = time.monotonic() + timeout_seconds
        while not self.answers():
            if time.monotonic() > deadline:
                raise RuntimeError(f"no job server at {self.dashboard_url}:\n{self.diagnosis()}")
            time.sleep(0.5)

    def answers(self) -> bool:
        """Whether the job server behind the dashboard answers, which is the last thing to come
        up.
        """
        try:
            self.request("/api/jobs/")
        except OSError:  # refused, reset, or an HTTP error while the server starts
            return False
        return True

    def request(self, path: str) -> Any:
        """GET a path of the dashboard's API with the token. Raises `OSError`
        (`urllib.error.HTTPError` among them), `RuntimeError` when dead.
        """
        self.check_alive()
        request = urllib.request.Request(
            self.dashboard_url + path,
            headers={"Authorization": f"Bearer {self.token}"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def submit_command(
        self,
        entrypoint: str | Sequence[str],
        *,
        working_dir: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> list[str]:
        """The `ray job submit` command line that runs `entrypoint` (a shell line, or a list of
        words).
        """
        command = [
            str(BIN_DIR / "ray"),
            "job",
            "submit",
            "--no-wait",
            f"--address={self.dashboard_url}",
        ]
        command += [f"--working-dir={working_dir}"] if working_dir else []
        command += [f"--runtime-env-json={json.dumps({'env_vars': dict(env)})}"] if env else []
        return [
            *command,
            "--",
            *(entrypoint.split() if isinstance(entrypoint, str) else entrypoint),
        ]

    def submit(
        self,
        entrypoint: str | Sequence[str],
        working_dir: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> str:
        """`ray job submit` with the token; returns the job's id. `env` goes to the job and is
        readable in Ray's API: no secrets.
        """
        self.wait_until_it_answers()
        job_id = f"prp-{secrets.token_hex(6)}"
        command = self.submit_command(entrypoint, working_dir=working_dir, env=env)
        command.insert(command.index("--no-wait"), f"--submission-id={job_id}")
        done = subprocess.run(
            command, env=self.env, capture_output=True, text=True, timeout=180, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(
                f"`ray job submit` failed with {done.returncode}:\n{done.stdout}{done.stderr}"
            )
        return job_id

    def status(self, job_id: str) -> str:
        """PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED."""
        return str(self.request(f"/api/jobs/{job_id}")["status"])

    def wait(self, job_id: str, *, timeout_seconds: float = 600.0) -> str:
        """Wait until the job has ended; returns its last status. Raises `TimeoutError` with the end
        of its log.
        """
        deadline = time.monotonic() + timeout_seconds
        while (status := self.status(job_id)) not in FINAL_STATES:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"job {job_id} is {status} after {timeout_seconds} "
                    f"s:\n{self.logs(job_id)[-4000:]}"
                )
            time.sleep(1.0)
        return status

    def logs(self, job_id: str) -> str:
        """All that the job's entrypoint wrote."""
        return str(self.request(f"/api/jobs/{job_id}/logs")["logs"])
