"""A real PostgreSQL server of a test's own, which can be stopped and started again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tools.debian_packages import environment_in, fetched_root

NOBODY = "nobody"  # PostgreSQL refuses to run as root


class PostgresServer:
    """The server over the files in `folder`; ``url`` names its database."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._programs, self._environment = _programs()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        self._run("initdb", "-D", str(folder / "data"), "-U", "prp", "--auth=trust", "--no-sync")

    @property
    def url(self) -> str:
        return f"postgresql://prp@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        """Start it, and return when it answers."""
        options = ["-p", str(self._port), "-h", "127.0.0.1", "-k", str(self._folder)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", str(self._folder / "data"), *options],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=self._folder,
                env=self._environment,
                user=_user(),
            )
        deadline = time.monotonic() + 60
        while not self._answers():
            assert self._process.poll() is None and time.monotonic() < deadline, self.log
            time.sleep(0.1)

    def stop(self, signal_number: int = signal.SIGINT) -> None:
        """End it: SIGINT ends every connection at once, SIGQUIT is a crash."""
        if self._process is not None:
            self._process.send_signal(signal_number)
            self._process.wait(60)
            self._process = None

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")[-3000:]

    def _answers(self) -> bool:
        words = ["-h", "127.0.0.1", "-p", str(self._port), "-U", "prp", "-q"]
        ready = subprocess.run([self._programs / "pg_isready", *words], env=self._environment)
        return ready.returncode == 0

    def _run(self, program: str, *words: str) -> None:
        subprocess.run(
            [self._programs / program, *words],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self._folder,
            env=self._environment,
            user=_user(),
        )


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    """A server that runs, with an empty database."""
    with tempfile.TemporaryDirectory(prefix="postgres-") as name:
        folder = Path(name)
        if _user() is not None:
            shutil.chown(folder, NOBODY)
        server = PostgresServer(folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _programs() -> tuple[Path, dict[str, str]]:
    """The folder of the machine's own server programs, else of those that are fetched, and their
    environment.
    """
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if found:
        return found[-1].parent, dict(os.environ)
    root = fetched_root("postgresql", ("postgresql",))
    found = sorted((root / "usr" / "lib" / "postgresql").glob("*/bin/postgres"))
    return found[-1].parent, environment_in(root)


def _user() -> str | None:
    """Whom the server runs as; None: whoever runs the test."""
    return NOBODY if os.getuid() == 0 else None
