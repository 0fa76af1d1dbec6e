"""A controller of Ray Train without its helper processes: callbacks and a scaling policy.

Ray Train starts an actor for the barrier among its workers (`ray.train.report` and collectives),
and one that asks Ray which nodes are announced to go away. A process is some 110 MB and two seconds
of CPU at each start, and a sweep starts a group for each attempt at a trial. Our workers agree in
their own process group and report to the coordinator, so nobody uses the barrier; and the nodes are
watched by a thread of the controller.

A third actor, one for each cluster, passes the controllers' requests for nodes on to the
autoscaler. A local cluster has none.
"""

from __future__ import annotations

from typing import Any

WATCH_VARIABLE = "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"
POLL_VARIABLE = "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S"
NO_AUTOSCALER_VARIABLE = "PRP_NO_AUTOSCALER"  # "1" in the processes of a local cluster


class NoBarrier:
    """In the place of Ray Train's barrier, which is not started. What would use it raises."""

    @classmethod
    def options(cls, **_: Any) -> type[NoBarrier]:
        """As of an actor's class."""
        return cls

    @classmethod
    def remote(cls, **_: Any) -> NoBarrier:
        """As of an actor's class."""
        return cls()

    @property
    def broadcast_from_rank_zero(self) -> Any:
        """Raises `RuntimeError`."""
        raise RuntimeError(
            "Ray Train's barrier is not started for workers of a sweep, so ray.train.report and "
            "ray.train.collective cannot be used in them; they agree in their process group"
        )


def lean_callbacks() -> list[Any]:
    """The callbacks; they belong to one controller, whose process serves this run alone."""
    import os

    # no public names
    from ray.train.v2._internal.execution.callback import ControllerCallback, WorkerGroupCallback
    from ray.train.v2._internal.execution.preemption import PreemptionWatcher

    class WithoutBarrier(ControllerCallback):
        def after_controller_start(self, *_: Any, **__: Any) -> None:
            from ray.train.v2._internal.execution.worker_group import state, worker_group

            worker_group.SynchronizationActor = NoBarrier
            state._shutdown_sync_actor = lambda barrier: None

    class WatchNodes(WorkerGroupCallback):
        _watcher: Any = None

        def after_worker_group_start(self, worker_group: Any) -> None:
            self._stop()
            ranks: dict[str, list[int]] = {}
            actors = {}
            for worker in worker_group.get_workers():
                rank = worker.distributed_context.world_rank
                ranks.setdefault(worker.metadata.node_id, []).append(rank)
                actors[rank] = worker.actor
            seconds = float(os.environ.get(POLL_VARIABLE, "5"))
            self._watcher = PreemptionWatcher(ranks, seconds, actors)

        def before_worker_group_shutdown(self, worker_group: Any) -> None:
            self._stop()

        def after_worker_group_abort(self, worker_group_context: Any) -> None:
            self._stop()

        def _stop(self) -> None:
            if self._watcher is not None:
                self._watcher._stop_event.set()
                self._watcher = None

    return [WithoutBarrier(), WatchNodes()]


def scaling_policy(scaling_config: Any) -> Any:
    """The policy of a group of as many workers as `scaling_config` says that asks no autoscaler for
    their nodes.
    """
    from ray.train.v2._internal.execution.scaling_policy.fixed import FixedScalingPolicy

    class WithoutRequests(FixedScalingPolicy):
        def after_controller_start(self, *_: Any, **__: Any) -> None:
            """Without a client of the actor, which would start it."""

        def _maybe_send_resource_request(self) -> None:
            """Nobody would read it."""

    return WithoutRequests(scaling_config)
