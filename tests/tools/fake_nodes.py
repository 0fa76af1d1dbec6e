"""Ray's fake cloud, with a folder of its own for what each node unpacks."""

from __future__ import annotations

from functools import partial
from typing import Any
from unittest import mock

import ray._private.parameter
from ray.autoscaler._private.fake_multi_node.node_provider import FakeMultiNodeProvider


class FakeNodes(FakeMultiNodeProvider):
    """Ray's fake nodes are processes of one machine and unpack a job's working directory at the
    same place, each anew: one that comes takes it away from under the workers of those that are
    there. Here each has its own, as on real machines.
    """

    def _create_node_with_resources_and_labels(self, *arguments: Any) -> None:
        with self.lock:
            params = partial(
                ray._private.parameter.RayParams,
                runtime_env_dir_name=f"runtime_resources_{self._next_node_id + 1}",
            )
            with mock.patch.object(ray._private.parameter, "RayParams", params):
                super()._create_node_with_resources_and_labels(*arguments)
