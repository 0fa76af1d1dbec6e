"""A process whose forks become MLflow servers.

Tests kill servers and start them again, and imports are nine tenths of what a start costs.

    python tests/tools/forked_mlflow.py

A line of its standard input asks for one server: JSON of ``[port, environment, log]``. The answer
is the server's process id. Nothing but the process itself differs from ``uvicorn
mlflow.server.fastapi_app:app``, which is what ``mlflow server`` runs.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import NoReturn

import uvicorn  # before MLflow, which looks for it to know that it is served
from mlflow.server import fastapi_app


def main() -> None:
    """Start what each line asks for, until there are no more; servers go on after that."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel takes ended servers away
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _serve(*json.loads(line))
        print(child, flush=True)


def _serve(port: int, environment: dict[str, str], log: str) -> NoReturn:
    """Be the server at `port` of this machine, in a session of its own, until it is killed."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for descriptor in (1, 2):
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    os.environ.clear()
    os.environ.update(environment)
    try:
        uvicorn.run(fastapi_app.app, host="127.0.0.1", port=port, log_level="warning")
    finally:
        os._exit(1)


if __name__ == "__main__":
    main()
