"""The audit of the lock file against a database of vulnerabilities on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

AUDIT = Path(__file__).resolve().parents[2] / ".ci" / "audit"


class Database(BaseHTTPRequestHandler):
    """Answers as OSV does: of ray it knows a vulnerability where the path says so."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
        known = {"vulns": [{"id": "PYSEC-2099-1", "modified": "2099-01-01T00:00:00Z"}]}
        bad = "ray" if self.path.startswith("/bad") else ""
        self._answer({"results": [known if one["package"]["name"] == bad else {} for one in asked]})

    def do_GET(self) -> None:
        self._answer({"id": "PYSEC-2099-1", "modified": "2099-01-01T00:00:00Z", "affected": []})

    def _answer(self, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def database() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Database) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_the_audit_fails_when_it_finds_something_and_when_it_looked_at_nothing(
    database: str,
) -> None:
    def audit(*options: str) -> tuple[int, str]:
        environment = {**os.environ, "UV_HTTP_RETRIES": "0"}
        done = subprocess.run([AUDIT, *options], capture_output=True, text=True, env=environment)
        return done.returncode, done.stdout + done.stderr

    code, said = audit("--service-url", database)
    assert code == 0 and "no known vulnerabilities" in said, said
    code, said = audit("--service-url", f"{database}/bad/")
    assert code == 1 and "PYSEC-2099-1" in said, said
    code, said = audit("--service-url", database, "--only-group", "nothing-is-in-it")
    assert code == 1 and "looked at no package" in said, said
    code, said = audit("--service-url", "http://127.0.0.1:9")
    assert code == 1 and "error" in said, said
