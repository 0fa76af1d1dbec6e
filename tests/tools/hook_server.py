"""A web server that takes notifications, for tests of the hook that they are sent to."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Hook(http.server.ThreadingHTTPServer):
    """A server that answers POSTs with the codes of `answers`, the last one again and again."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = [200]
        self.got: list[tuple[str, str, bytes]] = []
        self.waits = threading.Event()
        self.waits.set()

    @property
    def url(self) -> str:
        """Its address, with a token in the path as Slack has it."""
        return f"http://127.0.0.1:{self.server_port}/services/T0/canary"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        self.server.waits.wait(20)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, self.headers["Content-Type"], body))
        left = self.server.answers
        self.send_response(left.pop(0) if len(left) > 1 else left[0])
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def hook_server() -> Iterator[Hook]:
    """A hook that answers until the end of the block."""
    with Hook() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.waits.set()
        server.shutdown()
