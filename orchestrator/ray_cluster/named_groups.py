"""Placement groups of Ray Train under the name of their run, so that left ones can be removed.

A placement group outlives the controller that made it: Ray removes it with the job. When a trial's
driver or controller is killed, the group holds the workers' CPUs and GPUs for nobody. Ray Train's
own remedy, a detached actor for each run, asks Ray's dashboard, which a local cluster has not. Here
a group has a name, and whoever starts the run again removes what bears it. A controller that starts
a group again itself, because a worker died early, removes the first one's.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from typing import Any

RAYS_CLEANER = "PlacementGroupCleanerCallback"


def remove_left_groups(run: str) -> int:
    """Remove every placement group of the run called `run` in this job, with the workers in it;
    how many.
    """
    from ray.util import get_placement_group, placement_group_table, remove_placement_group

    prefix = _prefix(run)
    left = [
        entry["name"]
        for entry in placement_group_table().values()
        if entry["name"].startswith(prefix) and entry["state"] != "REMOVED"
    ]
    for name in left:
        with contextlib.suppress(ValueError):  # it has gone since
            remove_placement_group(get_placement_group(name))
    return len(left)


def naming_callback(run: str, attempt: str) -> Any:
    """A callback of Ray Train's controller that names the placement groups of its workers after
    `run` and `attempt`, which nobody else has.
    """
    from ray.train.v2._internal.execution.callback import ControllerCallback  # no public name

    class NamePlacementGroups(ControllerCallback):
        def after_controller_start(self, *_: Any, **__: Any) -> None:
            from ray.train.v2._internal.execution.worker_group import worker_group

            create = worker_group.placement_group
            prefix = _prefix(run)
            numbers = itertools.count(1)

            def named(*arguments: Any, **options: Any) -> Any:
                return create(*arguments, **options, name=f"{prefix}{attempt}-{next(numbers)}")

            # The controller's process serves this run alone.
            worker_group.placement_group = named
            start = worker_group.WorkerGroup._start
            worker_group.WorkerGroup._start = _releasing(start)  # type: ignore[method-assign]

    return NamePlacementGroups()


def _releasing(start: Callable[[Any], None]) -> Callable[[Any], None]:
    """`start` of a group of workers, which gives back what the group holds where it fails.

    Ray Train forgets a group whose worker dies while the process group is joined, and waits for the
    place that the group still holds.
    """

    def start_or_release(group: Any) -> None:
        try:
            start(group)
        except Exception:
            if group.has_started():
                held = group._worker_group_state
                group._clear_state()
                held.shutdown()
            raise

    return start_or_release


def _prefix(run: str) -> str:
    """What the names of a run's groups begin with: another sweep of that name is another job."""
    import ray

    return f"{run}/{ray.get_runtime_context().get_job_id()}/"
