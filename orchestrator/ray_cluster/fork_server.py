"""The server of a Ray session whose forks become Ray workers: torch is imported once, not by each.

`setup_worker` asks it, and starts it where there is none:

    python fork_server.py SOCKET

A connection to the Unix socket is one worker. It brings the worker's standard input, output and
error as descriptors, and the length and the text of a JSON object: its ``words`` (program and
arguments), ``environment``, ``directory`` and process ``group``. The answer is `TAKEN`, and the
process that asked ends. Nothing of Ray and nothing of this project is imported here, so that each
worker loads them in its own environment, as one that started from nothing does. The server ends
when the raylets have ended whose workers it has made.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

# It asks Linux whose a socket is, and when a process ends; `setup_worker` starts it only there.
assert sys.platform == "linux", "the fork server of Ray workers runs on Linux alone"

# Libraries that the workers of a sweep import, Ray's own modules aside. None starts a thread.
PRELOADED = ("torch", "aiohttp", "jsonschema", "pydantic", "requests", "yaml")
TAKEN = b"1"
NUM_STREAMS = 3
NUM_WAITING = 128  # connections that wait while it imports
FIRST_SECONDS = 60.0  # within which the first worker is asked for, or nobody waits for one
READ_SECONDS = 10.0  # within which a request arrives whole
RAYLET = "RAY_RAYLET_PID"


class Worker(NamedTuple):
    """One worker, as it was asked for."""

    words: list[str]
    environment: dict[str, str]
    directory: str
    group: int
    """Its process group; 0: it leads one."""
    streams: list[int]
    """Descriptors that become its standard input, output and error."""


def user_at_the_other_end(connection: socket.socket) -> int:
    """The user id of the process that a Unix socket is connected to."""
    size = struct.calcsize("3i")
    answer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    return int(struct.unpack("3i", answer)[1])


def receive(connection: socket.socket) -> Worker | None:
    """What a connection asks for; `None` where it is another user's, or no whole request."""
    connection.settimeout(READ_SECONDS)
    streams: list[int] = []
    try:
        head, streams, _, _ = socket.recv_fds(connection, 8, NUM_STREAMS)
        if user_at_the_other_end(connection) != os.getuid() or len(streams) != NUM_STREAMS:
            raise ConnectionError("not a request of this user's")
        text = _exactly(connection, struct.unpack("<Q", head)[0])
        request: dict[str, Any] = json.loads(text)
        return Worker(**request, streams=streams)
    except (OSError, TypeError, ValueError, struct.error):
        for stream in streams:
            os.close(stream)
        return None


def _exactly(connection: socket.socket, num_bytes: int) -> bytes:
    """`num_bytes` of a connection. Raises `ConnectionError` where it closes before."""
    pieces = b""
    while len(pieces) < num_bytes:
        piece = connection.recv(num_bytes - len(pieces))
        if not piece:
            raise ConnectionError("closed in the middle of a request")
        pieces += piece
    return pieces


class ForkServer:
    """Forks a worker for each connection to `listener`, until the raylets have ended."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._raylets: dict[int, int] = {}  # by process id, the descriptor that tells its end
        self._poll = select.poll()
        self._poll.register(listener, select.POLLIN)

    def serve(self) -> Worker | None:
        """The worker that the calling process, a fork, has to become; `None`: the server ends."""
        limit = FIRST_SECONDS * 1000
        while True:
            events = self._poll.poll(limit if not self._raylets else None)
            if not events:
                return None
            ready = {descriptor for descriptor, _ in events}
            if self._listener.fileno() in ready and (worker := self._accept()) is not None:
                return worker
            for raylet, descriptor in [*self._raylets.items()]:
                if descriptor in ready:
                    self._poll.unregister(descriptor)
                    os.close(descriptor)
                    del self._raylets[raylet]
                    if not self._raylets:
                        return None

    def _accept(self) -> Worker | None:
        """In a fork: the worker of the next connection; in the server: `None`."""
        connection, _ = self._listener.accept()
        with connection:
            worker = receive(connection)
            if worker is None or not self._is_known(int(worker.environment[RAYLET])):
                return None
            with self._closed_here(worker):
                try:
                    connection.sendall(TAKEN)
                except OSError:  # it has not waited
                    return None
                if os.fork() == 0:
                    self._leave()
                    return worker
        return None

    @contextlib.contextmanager
    def _closed_here(self, worker: Worker) -> Iterator[None]:
        """A context at whose end the server's own copies of the worker's streams are closed."""
        server = os.getpid()
        try:
            yield
        finally:
            if os.getpid() == server:
                for stream in worker.streams:
                    os.close(stream)

    def _is_known(self, raylet: int) -> bool:
        """Whether the raylet runs; its end is heard from now on."""
        if raylet not in self._raylets:
            try:
                descriptor = os.pidfd_open(raylet)
            except ProcessLookupError:
                return False
            self._raylets[raylet] = descriptor
            self._poll.register(descriptor, select.POLLIN)
        return True

    def _leave(self) -> None:
        """Close in a fork what is the server's."""
        self._listener.close()
        for descriptor in self._raylets.values():
            os.close(descriptor)


def become(worker: Worker) -> None:
    """Be `worker` in this process, as if its program had been started in its environment."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with contextlib.suppress(OSError):  # the group of a raylet in another session
        os.setpgid(0, worker.group)
    for number, stream in enumerate(worker.streams):
        os.dup2(stream, number)
        os.close(stream)
    # Only what differs: the names that processes give themselves are written over the first ones.
    for name in [name for name in os.environ if name not in worker.environment]:
        del os.environ[name]
    for name, value in worker.environment.items():
        if os.environ.get(name) != value:
            os.environ[name] = value
    os.chdir(worker.directory)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()  # or all workers would draw the same
    program = worker.words[0]
    sys.argv[:] = worker.words
    if not sys.flags.safe_path:
        sys.path.insert(0, str(Path(program).parent))
    runpy.run_path(program, run_name="__main__")


def main() -> None:
    """Serve at the socket that the command line names."""
    path = Path(sys.argv[1])
    os.closerange(NUM_STREAMS, os.sysconf("SC_OPEN_MAX"))  # what a raylet hands to its children
    os.setpgid(0, 0)  # Ray kills the group of a worker that has ended, in which this was started
    if not sys.flags.safe_path:
        del sys.path[0]  # this program's own folder
    with contextlib.suppress(FileNotFoundError):
        path.unlink()  # of a server that was killed
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(NUM_WAITING)
    for name in PRELOADED:
        importlib.import_module(name)
    if len([*Path("/proc/self/task").iterdir()]) > 1:
        raise SystemExit("libraries have started threads: workers start without a fork")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel takes ended workers away
    gc.collect()
    gc.freeze()  # or the first collection of each fork copies all that has been imported
    worker = ForkServer(listener).serve()
    if worker is not None:
        become(worker)


if __name__ == "__main__":
    main()
