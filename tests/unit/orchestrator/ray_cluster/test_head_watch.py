"""What a driver says while the head of its Ray cluster is away."""

from __future__ import annotations

import itertools
import socket

from orchestrator.ray_cluster.head_watch import HeadWatch


def test_a_head_that_is_away_is_said_once_and_again_after_it_was_back() -> None:
    said: list[str] = []
    seconds = itertools.count(0, 8)
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    address = f"127.0.0.1:{port}"
    watch = HeadWatch(address, said.append, "Go on with: X", clock=lambda: float(next(seconds)))
    watch.look()
    server.close()
    for _ in range(2):
        watch.look()
    assert said == [], "16 s"
    for _ in range(3):
        watch.look()
    line = (
        f"Ray's head node at {address} has not answered for 24 s; if it stays away, Ray ends this "
        "process within a minute. Go on with: X"
    )
    assert said == [line]
    with socket.create_server(("127.0.0.1", port)):
        watch.look()
    for _ in range(3):
        watch.look()
    assert said == [line, line]
