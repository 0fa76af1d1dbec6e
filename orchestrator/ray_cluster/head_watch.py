"""A watch over Ray's head node from the driver: it says so before Ray ends the driver without it.

A driver whose head (Ray's global control store) cannot be reached for a minute is ended by Ray's
native code, with exit code 1 and words about Ray alone. Nothing in Python runs then, so what a
person has to know is said while the head is away.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

LOOK_SECONDS = 5.0
PATIENCE_SECONDS = 20.0
CONNECT_SECONDS = 3.0


class HeadWatch:
    """As a context, looks every few seconds whether the head at `address` (host:port) takes a
    connection, and calls `say` with one line, which ends with `advice`, once it has not for
    `PATIENCE_SECONDS`.
    """

    def __init__(
        self,
        address: str,
        say: Callable[[str], None],
        advice: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = address
        self._say = say
        self._advice = advice
        self._clock = clock
        self._answered_at = clock()
        self._has_said = False
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="head-watch", daemon=True)

    def __enter__(self) -> HeadWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()

    def look(self) -> None:
        """Look once."""
        now = self._clock()
        if takes_connections(self._address):
            self._answered_at = now
            self._has_said = False
        elif now - self._answered_at >= PATIENCE_SECONDS and not self._has_said:
            self._has_said = True
            self._say(
                f"Ray's head node at {self._address} has not answered for "
                f"{now - self._answered_at:.0f} s; if it stays away, Ray ends this process within "
                f"a minute. {self._advice}"
            )

    def _run(self) -> None:
        while not self._end.wait(LOOK_SECONDS):
            self.look()


def takes_connections(address: str) -> bool:
    """Whether a TCP connection to `address` (host:port) can be made within some seconds."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS):
            return True
    except OSError:
        return False
