"""Two hosts on one machine: network namespaces, each with a cable that can be pulled.

Each has an address, a loopback and a hostname's worth of processes of its own; they reach a server
of this machine through a relay, and nothing else. Needs the right to make namespaces (root).
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

NAMES = ("one", "two")
IN_NAMESPACE = Path(__file__).parent / "in_namespace.py"


class TwoHosts:
    """``with TwoHosts(port) as hosts:``; ``hosts.words("one", ["script.py"])`` is a command there,
    ``hosts.address`` where they find what listens on the loopback's `port` here.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._id = secrets.token_hex(2)
        self._net = f"10.{200 + secrets.randbelow(50)}.{secrets.randbelow(250)}"
        self._closing = contextlib.ExitStack()

    def __enter__(self) -> TwoHosts:
        bridge = f"br{self._id}"
        with contextlib.ExitStack() as stack:
            ip("link", "add", bridge, "type", "bridge")
            stack.callback(ip, "link", "del", bridge)
            ip("addr", "add", f"{self._net}.1/24", "dev", bridge)
            ip("link", "set", bridge, "up")
            for number, name in enumerate(NAMES):
                space, cable = self.namespace(name), self._cable(name)
                ip("netns", "add", space)
                stack.callback(ip, "netns", "del", space)
                ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", space)
                ip("link", "set", cable, "master", bridge)
                ip("link", "set", cable, "up")
                inside = ("-n", space)
                ip(*inside, "addr", "add", f"{self._net}.{11 + number}/24", "dev", "eth0")
                ip(*inside, "link", "set", "eth0", "up")
                ip(*inside, "link", "set", "lo", "up")
            stack.enter_context(relay(f"{self._net}.1", self._port))
            self._closing = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.close()

    @property
    def address(self) -> str:
        """host:port of the relay."""
        return f"{self._net}.1:{self._port}"

    def namespace(self, name: str) -> str:
        """The system's name of host `name`."""
        return f"prp-{self._id}-{name}"

    def words(self, name: str, command: Sequence[str]) -> list[str]:
        """The words behind ``python`` that run the Python `command` on host `name`."""
        return [str(IN_NAMESPACE), self.namespace(name), *command]

    def pull_cable(self, name: str) -> None:
        """Nothing reaches host `name`, and it reaches nothing."""
        ip("link", "set", self._cable(name), "down")

    def plug_cable(self, name: str) -> None:
        """The cable is in again."""
        ip("link", "set", self._cable(name), "up")

    def _cable(self, name: str) -> str:
        return f"v{self._id}-{name}"


def ip(*words: str) -> None:
    """Run ``ip``; raises `RuntimeError` with what it said."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")


@contextlib.contextmanager
def relay(host: str, port: int) -> Iterator[None]:
    """Connections to `host`:`port` reach ``127.0.0.1:port`` within the block."""
    with socket.create_server((host, port), backlog=64) as server:
        threading.Thread(target=_accept, args=(server, port), daemon=True).start()
        yield
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)


def _accept(server: socket.socket, port: int) -> None:
    while True:
        try:
            client, _ = server.accept()
            target = socket.create_connection(("127.0.0.1", port))
        except OSError:
            return
        for source, sink in ((client, target), (target, client)):
            threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
