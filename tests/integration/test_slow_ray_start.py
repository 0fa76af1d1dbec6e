"""A local Ray that times out during startup is started again, and leaves no process behind."""

from __future__ import annotations

import logging
import os
import secrets
import time
from types import SimpleNamespace

import pytest
import ray
from ray._private import node, services
from ray._private.authentication.authentication_utils import is_token_auth_enabled

from orchestrator.ray_cluster import local_ray
from orchestrator.ray_cluster.connect import ray_cluster
from prp_core.errors import PrpError
from tests.tools.marked_processes import MARKER_VARIABLE, marked_processes


class BusyMachine:
    """To Ray, the first `num_starts` of its nodes do not come up and each time its 30 seconds are
    over at once. The processes are real.
    """

    def __init__(self, patch: pytest.MonkeyPatch, num_starts: int) -> None:
        self.marker = secrets.token_hex(8)
        self.processes: list[set[int]] = []
        """Of each start that failed, those that run when it is given up."""
        self._num_left = num_starts
        self._passed = 0.0
        self._get_node = services.get_node
        patch.setenv(MARKER_VARIABLE, self.marker)
        patch.setattr(services, "get_node", self.get_node)
        patch.setattr(
            node,
            "time",
            SimpleNamespace(**{**vars(time), "monotonic": lambda: time.monotonic() + self._passed}),
        )

    def get_node(self, address: str, node_id: str) -> object:
        """Ray's own answer, or the one of a node that is not up yet."""
        if not self._num_left:
            return self._get_node(address, node_id)
        self._num_left -= 1
        self._passed += 31.0
        self.processes.append(set(marked_processes(self.marker)))
        raise RuntimeError("not up yet")


def test_it_is_started_again_and_nothing_of_the_first_try_stays(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    busy = BusyMachine(monkeypatch, 1)
    before = os.environ.get("RAY_AUTH_MODE"), is_token_auth_enabled()
    with (
        caplog.at_level(logging.WARNING, "orchestrator.ray_cluster.local_ray"),
        ray_cluster(num_cpus=1),
    ):
        assert ray.cluster_resources()["CPU"] == 1
        assert busy.processes[0] and not busy.processes[0] & set(marked_processes(busy.marker))
    assert "starting it again" in caplog.text
    assert (os.environ.get("RAY_AUTH_MODE"), is_token_auth_enabled()) == before, (
        "Ray switches its process to tokens for good, and the next cluster here may have none"
    )


def test_in_the_end_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_ray, "NUM_STARTS", 2)
    busy = BusyMachine(monkeypatch, 2)
    with (
        pytest.raises(PrpError, match="did not start on this machine in 2 tries"),
        ray_cluster(num_cpus=1),
    ):
        raise AssertionError("it was never up")
    assert len(busy.processes) == 2 and all(busy.processes)
    deadline = (
        time.monotonic() + 60
    )  # what the killed node had started itself notices a little later
    while marked_processes(busy.marker):
        assert time.monotonic() < deadline, marked_processes(busy.marker)
        time.sleep(0.2)
    assert not ray.is_initialized()
