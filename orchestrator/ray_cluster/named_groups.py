"""Placement groups of Ray Train under the name of their run, so that left ones can be removed.

A placement group outlives the process that made it: Ray removes it with the job. When a trial's
driver is killed, the group holds the workers' CPUs and GPUs for nobody. Ray Train's own remedy, a
detached actor for each run, asks Ray's dashboard, which a local cluster has not. Here a group has a
name, and whoever starts the run again removes what bears it.
"""

from __future__ import annotations

import contextlib

RAYS_CLEANER = "PlacementGroupCleanerCallback"


def remove_left_groups(run: str) -> int:
    """Remove every placement group of the run called `run` in this job, with the workers in it;
    how many.
    """
    return remove_groups(group_prefix(run))


def remove_groups(prefix: str) -> int:
    """Remove every placement group whose name begins with `prefix`, with the workers in it; how
    many.
    """
    from ray.util import get_placement_group, placement_group_table, remove_placement_group

    left = [
        entry["name"]
        for entry in placement_group_table().values()
        if entry["name"].startswith(prefix) and entry["state"] != "REMOVED"
    ]
    for name in left:
        with contextlib.suppress(ValueError):  # it has gone since
            remove_placement_group(get_placement_group(name))
    return len(left)


def group_prefix(run: str) -> str:
    """What the names of a run's groups begin with: another sweep of that name is another job."""
    import ray

    return f"{run}/{ray.get_runtime_context().get_job_id()}/"
