"""A fake cloud provider without spot capacity: it refuses one node type, as AWS would."""

from __future__ import annotations

import sys
from typing import Any

from ray.autoscaler.node_launch_exception import NodeLaunchException

from tests.tools.fake_nodes import FakeNodes

SPOT_TYPE = "gpu_spot"


class NoSpotProvider(FakeNodes):
    """Raises what Ray's AWS provider raises after the last availability zone has said
    InsufficientInstanceCapacity.
    """

    def create_node_with_resources_and_labels(
        self,
        node_config: dict[str, Any],
        tags: dict[str, str],
        count: int,
        resources: dict[str, Any],
        labels: dict[str, str],
    ) -> dict[str, Any] | None:
        if tags["ray-user-node-type"] == SPOT_TYPE:
            raise NodeLaunchException(
                "InsufficientInstanceCapacity", "no spot capacity in any zone", sys.exc_info()
            )
        created: dict[str, Any] | None = super().create_node_with_resources_and_labels(
            node_config, tags, count, resources, labels
        )
        return created
