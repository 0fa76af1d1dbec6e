"""Further nodes of a local Ray cluster, with a folder of its own for what each node unpacks."""

from __future__ import annotations

import itertools
from types import TracebackType
from typing import Any

import ray
from ray._private.node import Node
from ray.cluster_utils import Cluster

from orchestrator.ray_cluster.connect import use_environment
from orchestrator.ray_cluster.local_ray import lean_node

OBJECT_STORE_BYTES = 80 << 20
NUM_NODES = 2

_numbers = itertools.count(1)


def add_node(cluster: Cluster, **node_args: Any) -> Node:
    """The node that `cluster` has got, started with `node_args` of Ray's own method.

    The nodes of one machine share the session's folder, and each unpacks a job's working directory
    there anew: one that is late takes it away from under the workers of the others, which then miss
    a module. Here each has a folder of its own, as on real machines.
    """
    folder = f"runtime_resources_node_{next(_numbers)}"
    return cluster.add_node(runtime_env_dir_name=folder, **node_args)


class ThreeNodes:
    """``with ThreeNodes() as nodes: ... nodes.address``: a Ray cluster of a head without CPUs and
    `NUM_NODES` nodes of one CPU each, so that two workers are two nodes; this process is connected.
    """

    def __enter__(self) -> ThreeNodes:
        use_environment()
        head = {"num_cpus": 0, "object_store_memory": OBJECT_STORE_BYTES}
        with lean_node():
            self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self._nodes: list[Node] = []
        try:
            for _ in range(NUM_NODES):
                self._add_node()
            ray.init(address=self.address, log_to_driver=False, logging_level="ERROR")
        except BaseException:
            self._cluster.shutdown()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        ray.shutdown()
        self._cluster.shutdown()

    @property
    def address(self) -> str:
        """The head's, for drivers."""
        return str(self._cluster.address)

    def raylets(self) -> list[int]:
        """The process ids of the raylets of the nodes that have CPUs."""
        return [int(node.all_processes["raylet"][0].process.pid) for node in self._nodes]

    def kill_and_replace(self, which: int) -> None:
        """kill -9 of the raylet of the node at `which`, and with it all that runs there; another
        node comes.
        """
        node = self._nodes.pop(which % len(self._nodes))
        node.kill_raylet(check_alive=False)
        self._cluster.remove_node(node, allow_graceful=False)
        self._add_node()

    def _add_node(self) -> None:
        with lean_node():
            node = add_node(self._cluster, num_cpus=1, object_store_memory=OBJECT_STORE_BYTES)
        self._nodes.append(node)
