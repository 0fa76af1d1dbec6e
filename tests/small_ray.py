"""A Ray of this machine for tests that need one and no sweep."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import ray

from orchestrator.ray_cluster.local_ray import lean_node


@contextmanager
def small_ray(num_cpus: int) -> Iterator[None]:
    """A context in which this process is connected to a local Ray with `num_cpus`."""
    with lean_node():
        ray.init(
            address="local",
            num_cpus=num_cpus,
            object_store_memory=100 << 20,
            log_to_driver=False,
        )
    try:
        yield
    finally:
        ray.shutdown()
