"""Workers that are forked from a process with torch: what they see, and what dies when.

The raylet is a process that sleeps, and the worker a program that writes down what it sees; both
ways of its start, and the server, are real. The first test preloads torch itself, as every sweep
does; to the others the libraries are empty files of their names, which load in no time.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from orchestrator.ray_cluster import fork_server, setup_worker
from tests.tools.process_state import is_there, parent_of, process_group
from tests.tools.waiting import wait_until

WORKER = """
import json, os, signal, sys, time
path = os.environ["PRP_TEST_SEEN"]
seen = {
    "words": sys.argv, "environment": dict(os.environ), "directory": os.getcwd(),
    "name": __name__, "path": sys.path, "child": str(signal.getsignal(signal.SIGCHLD)),
    "leads": os.getpgrp() == os.getpid(), "stdin": sys.stdin.read(), "process": os.getpid(),
    "torch": "torch" in sys.modules, "ray": "ray" in sys.modules,
    "descriptors": sorted(os.listdir("/proc/self/fd")),
}
if seen["torch"]:
    import numpy
    seen["drawn"] = float(numpy.random.random())
print("printed by the worker", flush=True)
with open(path + ".new", "w") as file:
    json.dump(seen, file)
os.rename(path + ".new", path)
time.sleep(float(os.environ.get("PRP_TEST_SLEEP", 0)))
"""
AS_ANOTHER_USER = """
import os, socket, sys, time
os.setuid(65534)
s = socket.socket(socket.AF_UNIX)
"""
PATIENCE_SECONDS = 60.0
OF_BASH = ("SHLVL", "_")  # through which a worker that is no fork starts


@dataclass
class Session:
    """The folder of a Ray session with raylets that do nothing."""

    folder: Path
    raylets: list[subprocess.Popen[bytes]] = field(default_factory=list)
    num_workers: int = 0
    import_path: str = os.environ.get("PYTHONPATH", "")

    def empty_libraries(self) -> None:
        """Let empty files stand for the libraries that its servers import."""
        libraries = self.folder / "libraries"
        libraries.mkdir()
        for name in fork_server.PRELOADED:
            (libraries / f"{name}.py").touch()
        self.import_path = os.pathsep.join(filter(None, [str(libraries), self.import_path]))

    def add_raylet(self) -> None:
        """One more raylet."""
        self.raylets.append(subprocess.Popen(["sleep", "1000"]))

    def start(self, *, raylet: int = 0, **variables: str) -> Callable[[], dict[str, Any]]:
        """Ask for a worker as a raylet does; what waits for it and returns what it saw."""
        self.num_workers += 1
        seen = self.folder / f"seen-{self.num_workers}"
        program = self.folder / "worker.py"
        program.write_text(WORKER)
        context = {"env_vars": {"OMP_NUM_THREADS": "1", **variables}, "command_prefix": []}
        words = [sys.executable, setup_worker.__file__, str(program), "--an=a b'c\"d$e;f", ""]
        words += [f"--raylet-name={self.folder}/sockets/raylet", "--language=PYTHON"]
        words += [f"--serialized-runtime-env-context={json.dumps(context)}"]
        given = {name: text for name, text in os.environ.items() if name != "OMP_NUM_THREADS"}
        given |= {"PRP_TEST_SEEN": str(seen), "PRP_TEST_CHANGED": "the raylet's"}
        given["PYTHONPATH"] = self.import_path
        given["RAY_RAYLET_PID"] = str(self.raylets[raylet].pid)
        with (self.folder / "printed").open("ab") as output:
            process = subprocess.Popen(
                words, env=given, cwd=self.folder, stdin=subprocess.PIPE, stdout=output,
                start_new_session=True,
            )  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(b"typed")
        process.stdin.close()

        def wait() -> dict[str, Any]:
            process.wait(PATIENCE_SECONDS)
            wait_until(seen.exists)
            return dict(json.loads(seen.read_text()))

        return wait

    def servers(self) -> list[int]:
        """The ids of the session's fork servers."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if fork_server.__file__.encode() in words and any(
                    word.startswith(bytes(self.folder)) for word in words
                ):
                    found.append(int(entry.name))
        return [one for one in found if is_there(one) and parent_of(one) not in found]


@pytest.fixture
def session_with_torch(tmp_path: Path) -> Iterator[Session]:
    (tmp_path / "sockets").mkdir()
    made = Session(tmp_path)
    made.add_raylet()
    yield made
    for raylet in made.raylets:
        raylet.kill()
        raylet.wait()
    wait_until(lambda: made.servers() == [])


@pytest.fixture
def session(session_with_torch: Session) -> Session:
    session_with_torch.empty_libraries()
    return session_with_torch


def test_a_fork_sees_what_a_worker_sees_that_started_from_nothing(
    session_with_torch: Session,
) -> None:
    session = session_with_torch
    variables = {"PRP_TEST_ADDED": "two words; 'quoted' \\ \n", "PRP_TEST_CHANGED": "the job's"}
    first = session.start(**variables, PRP_TEST_GONE="1")()
    fork = session.start(**variables)()
    (server,) = session.servers()
    own = session.start(**variables, **{setup_worker.NO_FORKS: "1"})()
    assert first["torch"] and fork["torch"] and not own["torch"]
    for name in ("words", "directory", "name", "path", "child", "leads", "stdin"):
        assert fork[name] == own[name], name
    differing = fork["environment"].items() ^ own["environment"].items()
    assert {name for name, _ in differing} <= {setup_worker.NO_FORKS, "PRP_TEST_SEEN", *OF_BASH}
    assert fork["environment"].items() >= variables.items() and fork["stdin"] == "typed"
    assert fork["leads"] and fork["process"] not in process_group(server)
    assert not fork["ray"], "each worker loads Ray in its own environment"
    assert len(fork["descriptors"]) == 4, "the three standard ones, and the folder that lists them"
    assert fork["drawn"] != first["drawn"]
    assert (session.folder / "printed").read_text() == "printed by the worker\n" * 3


def test_workers_share_a_server_unless_libraries_would_load_otherwise(session: Session) -> None:
    session.add_raylet()
    session.start(RAY_JOB_ID="01000000")()
    session.start(raylet=1, RAY_JOB_ID="02000000", PRP_TEST_OTHER="1")()
    assert len(session.servers()) == 1
    assert session.start(TORCH_LOGS="+dynamo")()["environment"]["TORCH_LOGS"] == "+dynamo"
    assert len(session.servers()) == 2
    for threads in ({"OMP_NUM_THREADS": "2"}, {"OPENBLAS_NUM_THREADS": "1"}):
        assert not session.start(**threads)()["torch"], "their libraries may start threads"
    assert len(session.servers()) == 2


def test_starts_at_once_make_one_server(session: Session) -> None:
    waits = [session.start() for _ in range(4)]
    assert len({wait()["process"] for wait in waits}) == 4
    assert len(session.servers()) == 1


def test_what_is_no_request_leaves_the_server_as_it_was(session: Session) -> None:
    session.start()()
    (server,) = session.servers()
    (path,) = (one for one in (session.folder / "sockets").iterdir() if one.is_socket())
    for text in (b"", b"no JSON", b'{"words": []}', b"[]"):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            # At once: it closes the connection as soon as it has read what it refuses.
            socket.send_fds(connection, [struct.pack("<Q", len(text)) + text], [0, 1, 2])
            assert connection.recv(1) == b"", "not taken"
    assert session.start()()["torch"] and session.servers() == [server]


def test_a_killed_server_takes_no_worker_along_and_the_next_start_makes_another(
    session: Session,
) -> None:
    running = session.start(PRP_TEST_SLEEP="30")()
    (server,) = session.servers()
    os.kill(server, signal.SIGKILL)
    wait_until(lambda: not is_there(server))
    assert session.start()()["torch"]
    assert is_there(running["process"])
    os.kill(running["process"], signal.SIGKILL)
    wait_until(lambda: not is_there(running["process"]))
    (other,) = session.servers()
    assert other != server


def test_a_server_that_is_killed_while_a_worker_waits_leaves_it_to_itself(
    session: Session,
) -> None:
    session.start()()
    (server,) = session.servers()
    os.kill(server, signal.SIGSTOP)
    wait = session.start()
    time.sleep(1.0)
    assert not (session.folder / "seen-2").exists()
    os.kill(server, signal.SIGKILL)
    assert not wait()["torch"]


def test_a_server_ends_with_the_last_of_its_raylets(session: Session) -> None:
    session.add_raylet()
    session.start(raylet=0)()
    session.start(raylet=1)()
    (server,) = session.servers()
    session.raylets[0].kill()
    session.raylets[0].wait()
    assert session.start(raylet=1)()["torch"] and session.servers() == [server]
    session.raylets[1].kill()
    session.raylets[1].wait()
    wait_until(lambda: not is_there(server))


@contextmanager
def listening_as_another_user(path: Path) -> Iterator[None]:
    """A context in which a process of another user listens at `path`."""
    code = AS_ANOTHER_USER + "s.bind(sys.argv[1]); s.listen(); print(flush=True); time.sleep(1000)"
    words = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"\n"
        try:
            yield
        finally:
            process.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_users_do_not_trust_each_other(session: Session) -> None:
    """Another one's server gets no environment, and another one's request no worker."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        session.folder = Path(name)
        sockets = session.folder / "sockets"
        for folder in (session.folder, sockets):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o777)
        assert session.start()()["torch"]
        (server,) = session.servers()
        (path,) = (one for one in sockets.iterdir() if one.is_socket())
        ask = [sys.executable, "-c", AS_ANOTHER_USER + "s.connect(sys.argv[1])", str(path)]
        refused = subprocess.run(ask, capture_output=True, text=True, check=False)
        assert "PermissionError" in refused.stderr
        path.chmod(0o777)  # what if it could
        assert subprocess.run(ask, check=False).returncode == 0
        assert session.start()()["torch"] and session.servers() == [server]
        os.kill(server, signal.SIGKILL)
        path.unlink()
        with listening_as_another_user(path):
            assert not session.start()()["torch"]
