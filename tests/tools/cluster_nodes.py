"""Further nodes of a local Ray cluster, with a folder of its own for what each node unpacks."""

from __future__ import annotations

import itertools
from typing import Any

from ray._private.node import Node
from ray.cluster_utils import Cluster

_numbers = itertools.count(1)


def add_node(cluster: Cluster, **node_args: Any) -> Node:
    """The node that `cluster` has got, started with `node_args` of Ray's own method.

    The nodes of one machine share the session's folder, and each unpacks a job's working directory
    there anew: one that is late takes it away from under the workers of the others, which then miss
    a module. Here each has a folder of its own, as on real machines.
    """
    folder = f"runtime_resources_node_{next(_numbers)}"
    return cluster.add_node(runtime_env_dir_name=folder, **node_args)
