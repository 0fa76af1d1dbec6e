"""A cluster's address: what does not answer, or is not Ray, is refused in our words."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path

import pytest

from orchestrator.ray_cluster import cluster_address
from orchestrator.ray_cluster.cluster_address import check_address
from orchestrator.ray_cluster.connect import _not_sent, _refusal
from orchestrator.ray_cluster.local_ray import SOCKET_BYTES, private_folder
from prp_core.errors import UserError

SETTINGS_FRAME = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"


def server(answer: bytes | None) -> str:
    """The address of a server that accepts one connection and sends `answer` (None: nothing)."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, listener:
            connection.recv(100)
            if answer is not None:
                connection.sendall(answer)
            with contextlib.suppress(ConnectionResetError):
                connection.recv(1)  # until the client leaves

    threading.Thread(target=serve, daemon=True).start()
    return f"127.0.0.1:{listener.getsockname()[1]}"


def test_what_speaks_grpc_is_taken_for_a_cluster_and_a_web_server_is_not() -> None:
    check_address(server(SETTINGS_FRAME))
    for word in ("", "auto", "local"):
        check_address(word)
    with pytest.raises(UserError, match="what answers there is not Ray's control service"):
        check_address(server(b"HTTP/1.1 400 Bad Request\r\n\r\n"))


def test_silence_ends_after_some_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_address, "ANSWER_SECONDS", 0.1)
    address = server(None)
    with pytest.raises(UserError, match=f"No Ray cluster answers at {address}: no answer within"):
        check_address(address)


@pytest.mark.parametrize("address", ["head", "head:x", ":6379"])
def test_what_is_no_address_is_told_what_to_write(address: str) -> None:
    with pytest.raises(UserError, match=r"write HOST:PORT, for example 10\.0\.0\.5:6379"):
        check_address(address)


def test_other_versions_are_named_whole() -> None:
    error = (
        "Version mismatch: The cluster was started with:\n    Ray: 2.59.0\n    Python: 3.12.1\n"
        "This process on node 10.0.0.2 was started with:\n    Ray: 2.60.0\n    Python: 3.11.9\n"
    )
    assert _refusal("10.0.0.5:6379", error) == (
        "The Ray cluster at 10.0.0.5:6379 has other versions: Version mismatch: The cluster was "
        "started with: Ray: 2.59.0 Python: 3.12.1 This process on node 10.0.0.2 was started with: "
        "Ray: 2.60.0 Python: 3.11.9; install the same on both sides (uv sync on every node, one "
        "image)"
    )


def test_a_checkout_over_the_limit_of_ray_is_told_its_size() -> None:
    error = (
        "Failed to set up runtime environment.\nFailed to upload working_dir /x to the Ray "
        "cluster: "
        "Package size (530.17MiB) exceeds the maximum size of 512.00MiB. To exclude large files, "
    )
    told = _not_sent(error)
    assert "has 530.17MiB when packed, and Ray sends at most 512.00MiB to workers: move " in told
    assert "could not be sent to the cluster's workers: no room" in _not_sent("no\nroom")


def test_a_folder_in_which_ray_can_make_no_socket_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("n" * SOCKET_BYTES)))
    with pytest.raises(UserError, match=r"RAY_TMPDIR = .* bytes, and Ray's sockets below it can"):
        private_folder()
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("RAY_TMPDIR", "/proc/none")
    with pytest.raises(UserError, match="Ray's files cannot be written to /proc/none: No such f"):
        private_folder()


def test_a_local_ray_that_does_not_start_is_not_blamed_on_an_address() -> None:
    told = _refusal("", "no memory")
    assert told.startswith("Ray does not start on this machine: no memory; its logs are in ")


def test_a_cluster_that_wants_a_token_is_joined_once_the_mode_is_set_as_the_error_says() -> None:
    told = _refusal("10.0.0.5:6379", "Failed to connect to Ray cluster at 10.0.0.5:6379")
    assert told.startswith("Ray at 10.0.0.5:6379 cannot be used: Failed to connect")
    assert "RAY_AUTH_MODE=token" in told and "docs/clusters.md" in told
