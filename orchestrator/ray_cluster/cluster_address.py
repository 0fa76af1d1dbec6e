"""The check of a cluster's address: Ray's control service answers there, within ten seconds.

Ray itself retries an address at which nothing listens for minutes, with a log of its native code.
"""

from __future__ import annotations

import os
import socket
from urllib.parse import urlsplit

from prp_core.errors import UserError

CONNECT_SECONDS = 4.0
ANSWER_SECONDS = 4.0
PORT = 6379
# An HTTP/2 client's first bytes, with an empty frame of settings: a gRPC server answers with its
# own settings, whatever credentials it asks for later.
HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
FRAME_TYPE, SETTINGS = 3, 4
WITHOUT_A_NODE = ("", "auto", "local")


def check_address(address: str) -> None:
    """Raise `UserError` where no Ray cluster answers at `address` (``HOST:PORT``).

    ``auto`` and ``local`` are Ray's own words and are not asked. A cluster with TLS is asked only
    for a connection.
    """
    if address in WITHOUT_A_NODE:
        return
    host, port = host_and_port(address)
    try:
        with socket.create_connection((host, port), timeout=CONNECT_SECONDS) as connection:
            if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
                return
            connection.settimeout(ANSWER_SECONDS)
            connection.sendall(HELLO)
            head = connection.recv(9)
    except TimeoutError:
        raise _dead(address, f"no answer within {CONNECT_SECONDS:.0f} s") from None
    except OSError as error:
        raise _dead(address, error.strerror or str(error)) from None
    if len(head) <= FRAME_TYPE or head[FRAME_TYPE] != SETTINGS:
        raise _dead(address, "what answers there is not Ray's control service")


def host_and_port(address: str) -> tuple[str, int]:
    """The host and the port of `address`. Raises `UserError`, which says what to write."""
    if address.startswith(("http://", "https://")):
        raise UserError(
            f"--address {address} is a web address, such as `ray job submit` takes; a study joins "
            f"a cluster at HOST:{PORT}"
        )
    try:
        parts = urlsplit(address if "://" in address else f"ray-node://{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or port is None:
        raise UserError(
            f"--address {address} is not the address of a cluster; write HOST:PORT, for example "
            f"10.0.0.5:{PORT}"
        )
    return host, port


def _dead(address: str, reason: str) -> UserError:
    return UserError(
        f"No Ray cluster answers at {address}: {reason}; check --address (or RAY_ADDRESS), that "
        "`ray status` works on its head node, and that this machine reaches its port"
    )
