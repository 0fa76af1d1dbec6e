"""The program that sets up a Ray worker's environment and becomes the worker.

Ray's own (`ray/_private/workers/setup_worker.py`) imports Ray to do so, and the worker then imports
it again: half of what the start of a worker costs. This one needs the standard library alone. What
it does not know, it leaves to Ray's. Ray tells such a program by its file name, which is why this
one has the same (`WorkerPool::BuildProcessCommandArgs`).

On Linux it asks the session's `fork_server` for a process that has torch imported, and starts it
where there is none. Where that cannot be had, it becomes the worker itself.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import runpy
import shlex
import socket
import struct
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

CONTEXT = "--serialized-runtime-env-context="
LANGUAGE = "--language="
# The fields of Ray's `RuntimeEnvContext` that are understood here.
KNOWN = {"command_prefix", "env_vars", "py_executable", "override_worker_entrypoint", "java_jars"}


FORK_SERVER = Path(__file__).with_name("fork_server.py")
NO_FORKS = "PRP_NO_WORKER_FORKS"  # set to anything: each worker starts from nothing
RAYLET = "RAY_RAYLET_PID"  # in the environment of what a raylet starts
SOCKET_OF_RAYLET = "--raylet-name="  # it lies beside the session's other sockets
# A GPU's driver: a fork from a process that has torch imported was never tried beside one.
GPU_DEVICES = "/dev/nvidiactl", "/dev/kfd"
# Beginnings of the names of variables that the interpreter, the C library, torch or NumPy read when
# they are loaded: a worker's are those of the server that it is forked from.
READ_WHEN_LOADED = (
    *("ATEN_", "CUDA_", "GLIBC_", "GOMP_", "HIP_", "JE_", "KMP_", "LANG", "LC_", "LD_", "MALLOC_"),
    *("MKL_", "NPY_", "NUMPY_", "NVIDIA_", "OMP_", "OPENBLAS_", "OPENSSL_", "PYDANTIC_", "PYTHON"),
    *("PYTORCH_", "TORCH", "TRITON_"),
)
# Less than the 60 seconds after which Ray starts a worker anew that has not registered.
ANSWER_SECONDS = 45.0
BOUND_SECONDS = 10.0  # until a server that was started has its socket


class WorkerStart(NamedTuple):
    """How the worker starts that a raylet asks for."""

    variables: dict[str, str]
    """To be added to the environment."""
    prefix: list[str]
    """Words of the shell before the interpreter."""
    python: str
    """The interpreter, in the shell's words."""
    words: list[str]
    """The program and its arguments."""

    def shell_command(self) -> str:
        """The shell's command that becomes the worker."""
        return " ".join([*self.prefix, "exec", self.python, *map(shlex.quote, self.words)])


def worker_start(words: Sequence[str]) -> WorkerStart | None:
    """How the worker of Ray's arguments `words` starts; `None` where Ray's own program has to start
    it: other languages than Python, variables that name others, and what a later Ray may ask for.
    """
    context: dict[str, Any] = {}
    language = ""
    worker = []
    for word in words:
        if word.startswith(CONTEXT):
            context = json.loads(word.removeprefix(CONTEXT))
        elif word.startswith(LANGUAGE):
            language = word.removeprefix(LANGUAGE)
        else:
            worker.append(word)
    variables = context.get("env_vars") or {}
    is_known = language == "PYTHON" and set(context) <= KNOWN and sys.platform == "linux"
    if not is_known or not worker or any("$" in value for value in variables.values()):
        return None
    worker[0] = context.get("override_worker_entrypoint") or worker[0]
    python = context.get("py_executable") or sys.executable
    return WorkerStart(variables, context.get("command_prefix") or [], python, worker)


def is_forked(start: WorkerStart, environment: Mapping[str, str]) -> bool:
    """Whether a fork can be the worker of `start`: the same interpreter, started by a raylet with
    nothing before it, whose libraries start no threads, on a machine without a GPU.
    """
    return (
        start.python == sys.executable
        and environment.get("OMP_NUM_THREADS") == "1"
        and not {"OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"} & {*environment}
        and not start.prefix
        and not start.words[0].startswith("-")
        and RAYLET in environment
        and NO_FORKS not in environment
        and not any(map(os.path.exists, GPU_DEVICES))
    )


def socket_of_server(start: WorkerStart, environment: Mapping[str, str]) -> Path | None:
    """The socket of the session's fork server with what `environment` has of `READ_WHEN_LOADED`;
    `None` where the arguments name no session.
    """
    raylet = [word for word in start.words if word.startswith(SOCKET_OF_RAYLET)]
    if not raylet:
        return None
    read = {name: environment[name] for name in environment if name.startswith(READ_WHEN_LOADED)}
    text = json.dumps([sys.executable, sorted(read.items())])
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return Path(raylet[0].removeprefix(SOCKET_OF_RAYLET)).with_name(f"fork_{digest}")


def hand_over(start: WorkerStart, environment: Mapping[str, str]) -> bool:
    """Whether a fork server has taken the worker of `start` over: this process is done."""
    path = socket_of_server(start, environment) if is_forked(start, environment) else None
    if path is None:
        return False
    directory = str(Path.cwd())
    request = {
        "words": start.words,
        "environment": {**environment, "PWD": directory},  # as bash has it
        "directory": directory,
        "group": 0 if os.getpgrp() == os.getpid() else os.getpgrp(),
    }
    text = json.dumps(request).encode()
    try:
        with _connection(path, environment) as connection:
            connection.settimeout(ANSWER_SECONDS)
            socket.send_fds(connection, [struct.pack("<Q", len(text))], [0, 1, 2])
            connection.sendall(text)
            try:
                return bool(connection.recv(1))
            except TimeoutError:
                # From here on it cannot take it; it may have done so just now.
                connection.shutdown(socket.SHUT_RD)
                connection.setblocking(False)
                return bool(connection.recv(1))
    except OSError:  # no such server, another user's, or it was killed
        return False


def _connection(path: Path, environment: Mapping[str, str]) -> socket.socket:
    """A connection to the server at `path`, which is started where there is none. Raises `OSError`
    where there is none then, `PermissionError` where it is another user's.
    """
    try:
        return _connected(path)
    except (ConnectionRefusedError, FileNotFoundError):
        pass
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    lock = os.open(path.with_suffix(".lock"), flags, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            return _connected(path)  # another worker has started it
        except (ConnectionRefusedError, FileNotFoundError):
            os.posix_spawn(
                sys.executable, [sys.executable, str(FORK_SERVER), str(path)], environment
            )
            return _connected_within(path, BOUND_SECONDS)
    finally:
        os.close(lock)


def _connected_within(path: Path, seconds: float) -> socket.socket:
    """A connection to the server that has been started. Raises `OSError` after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return _connected(path)
        except (ConnectionRefusedError, FileNotFoundError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _connected(path: Path) -> socket.socket:
    """A connection to the server at `path`, of this user and no other. Raises `OSError`."""
    if sys.platform != "linux":
        raise OSError("which user a socket belongs to can be asked on Linux alone")
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(str(path))
        size = struct.calcsize("3i")
        answer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        if struct.unpack("3i", answer)[1] != os.getuid():
            raise PermissionError(f"{path} is another user's")
    except OSError:
        connection.close()
        raise
    return connection


def main() -> None:
    """Become the worker."""
    start = worker_start(sys.argv[1:])
    if start is None:
        ray = find_spec("ray")
        assert ray is not None and ray.origin is not None
        theirs = Path(ray.origin).parent / "_private" / "workers" / Path(__file__).name
        runpy.run_path(str(theirs), run_name="__main__")
        return
    os.environ.update(start.variables)
    if not hand_over(start, dict(os.environ)):
        os.execvp("bash", ["bash", "-c", start.shell_command()])


if __name__ == "__main__":
    main()
