"""A utilisation scorer for Ray's autoscaler on AWS: spot first, on demand where spot is short.

Ray 2.60 alone does not fall back. Its autoscaler asks for the same spot type again and again when
AWS answers InsufficientInstanceCapacity (seen on a fake cloud, `tests/tools/spot_shortage.py`):
version 2 does not count failed launches, and version 1 counts them but its own scorer ignores the
count. Version 1 lets the scorer be replaced, so `cluster.yaml` starts it with
``RAY_AUTOSCALER_UTILIZATION_SCORER=spot_first.score``. A type that failed is asked again after 30
minutes (Ray's constant).

This file is copied to the head alone, without the project around it: it may import nothing but Ray.
"""

from __future__ import annotations

from typing import Any

from ray.autoscaler._private.resource_demand_scheduler import _default_utilization_scorer

ON_DEMAND_SUFFIX = "on_demand"


def score(
    node_resources: dict[str, Any],
    resources: list[dict[str, Any]],
    node_type: str,
    *,
    node_availability_summary: Any,
) -> tuple[Any, ...] | None:
    """The rank of a node of `node_type` for the bundles in `resources`; the highest is launched.

    None: no bundle fits such a node. The rank says first whether the last launch of the type
    worked, then by Ray's own measure how well the bundles fill the node, then that it is spot, not
    a type whose name ends with ``on_demand``.
    """
    utilization = _default_utilization_scorer(
        node_resources, resources, node_type, node_availability_summary=node_availability_summary
    )
    if utilization is None:
        return None
    record = node_availability_summary.node_availabilities.get(node_type)
    return (
        record is None or record.is_available,
        *utilization,
        not node_type.endswith(ON_DEMAND_SUFFIX),
    )
