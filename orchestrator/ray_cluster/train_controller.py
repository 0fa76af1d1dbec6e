"""Ray Train's controller in the process that starts a training, and without helper processes.

Ray Train starts an actor for the controller of each group of workers, one for the barrier among
them (`ray.train.report` and collectives), and one that asks Ray which nodes are announced to go
away. A process is some 110 MB and two seconds of CPU at each start, and a sweep starts a group for
each attempt at a trial. Here the controller is a thread of the process that drives the trial and
only waits; our workers agree in their own process group and report to the coordinator, so nobody
uses the barrier; and the nodes are watched by another thread.

A fourth actor, one for each cluster, passes the controllers' requests for nodes on to the
autoscaler. A local cluster has none.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from orchestrator.ray_cluster.named_groups import remove_groups

WATCH_VARIABLE = "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"
POLL_VARIABLE = "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S"
NO_AUTOSCALER_VARIABLE = "PRP_NO_AUTOSCALER"  # "1" in the processes of a local cluster
WAKE_SECONDS = 0.2
LOOK_SECONDS = 1.0  # at an interruption, while a group waits for its place
END_SECONDS = 20.0  # for a controller whose training is interrupted
START_SECONDS = 600.0  # from a place for the workers until they have joined their process group

_LOGGER = logging.getLogger(__name__)


class _Interrupted(BaseException):
    """Ends the controller's thread, past what Ray Train tries again."""


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


def run_controller(
    settings: Mapping[str, Any], group_prefix: str, start_seconds: float = START_SECONDS
) -> Any:
    """Ray Train's `Result` of a training with the `settings` of its controller, whose placement
    groups are called `group_prefix` and a number. Workers that do not start within `start_seconds`,
    because a process or a disk hangs, are ended, and the controller counts a failed start.

    The controller runs in a thread, because whoever calls may have an event loop (a notebook), and
    so that Ctrl-C reaches the caller at once: it ends the workers and the thread before it is
    raised. What Ray Train raises is raised.
    """
    outcome: Future[Any] = Future()
    is_interrupted = threading.Event()
    # Python 3.11 takes a thread for ended whose `join` is interrupted.
    has_ended = threading.Event()

    def run() -> None:
        try:
            make = _controller_class(group_prefix, start_seconds, is_interrupted.is_set)
            controller = make(**settings)
            asyncio.run(controller.run())
            outcome.set_result(controller.get_result())
        except BaseException as error:  # noqa: BLE001 - raised in the caller's thread
            outcome.set_exception(error)
        finally:
            has_ended.set()

    with _without_barrier():
        thread = threading.Thread(target=run, name="ray-train-controller", daemon=True)
        try:
            thread.start()
            while not has_ended.wait(WAKE_SECONDS):  # interrupted between two waits
                pass
        except BaseException:  # raised by a signal's handler
            is_interrupted.set()
            _end_training(has_ended, group_prefix)
            raise
        return outcome.result()


def _end_training(has_ended: threading.Event, group_prefix: str) -> None:
    """Take the workers' groups away until the controller, which may be about to start another one,
    has ended.
    """
    deadline = time.monotonic() + END_SECONDS
    while not has_ended.is_set() and time.monotonic() < deadline:
        remove_groups(group_prefix)
        has_ended.wait(WAKE_SECONDS)
    remove_groups(group_prefix)


@contextlib.contextmanager
def _without_barrier() -> Iterator[None]:
    """Ray Train starts no barrier in this process meanwhile."""
    from ray.train.v2._internal.execution.worker_group import state, worker_group

    before = worker_group.SynchronizationActor, state._shutdown_sync_actor
    worker_group.SynchronizationActor = NoBarrier
    state._shutdown_sync_actor = lambda barrier: None
    try:
        yield
    finally:
        worker_group.SynchronizationActor, state._shutdown_sync_actor = before


def _controller_class(
    group_prefix: str, start_seconds: float, is_interrupted: Callable[[], bool]
) -> Any:
    """Ray Train's controller, whose groups have names, a limit for their start, and workers without
    a handle of it. It ends where it `is_interrupted`.
    """
    from ray.train.v2._internal.execution.controller.controller import TrainController
    from ray.train.v2._internal.execution.worker_group import WorkerGroup

    numbers = itertools.count(1)

    class OwnWorkerGroup(WorkerGroup):
        _limit: threading.Timer | None = None

        def _start(self) -> None:
            """As Ray's own, and gives back what the group holds where it fails: Ray Train forgets a
            group whose worker dies while the process group is joined, and waits for its place.
            """
            try:
                super()._start()
            except Exception:
                if self.has_started():
                    held = self._worker_group_state
                    self._clear_state()
                    held.shutdown()
                raise
            finally:
                if self._limit is not None:
                    self._limit.cancel()

        def _create_workers(self, num_workers: int, group: Any, *rest: Any, **more: Any) -> Any:
            """As Ray's own, which waits for ever for a worker that hangs before it trains."""
            self._limit = _limit_of_start(group, start_seconds)
            return super()._create_workers(num_workers, group, *rest, **more)

        def _create_placement_group(self, scaling_config: Any, context: Any) -> Any:
            return _named_placement_group(context, f"{group_prefix}{next(numbers)}", is_interrupted)

        def _init_train_context_on_workers(self, workers: Any, barrier: Any, values: Any) -> None:
            _give_context(self, workers, barrier, values)

    class OwnController(TrainController):
        worker_group_cls = OwnWorkerGroup

        async def _run_control_loop_iteration(self) -> None:
            """As Ray's own, which ends an actor to be interrupted."""
            if not is_interrupted():
                await super()._run_control_loop_iteration()
                return
            if self._worker_group is not None and self._worker_group.has_started():
                self._worker_group.abort()
            raise _Interrupted

    return OwnController


def _limit_of_start(group: Any, seconds: float) -> threading.Timer:
    """A timer that runs, and then ends the workers in the placement group `group`."""
    from ray.util import remove_placement_group

    def give_up() -> None:
        _LOGGER.warning(
            "The training workers have their place and have not started within %.0f s: a process "
            "or a disk of theirs hangs. They are ended, and a new group is started",
            seconds,
        )
        remove_placement_group(group)

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    return timer


def _named_placement_group(context: Any, name: str, is_interrupted: Callable[[], bool]) -> Any:
    """The handle of a new placement group for the workers that Ray Train's `context` describes.
    Ray's own waits for its place to the end of its time, whatever becomes of the group.
    """
    from ray.train.v2._internal.execution.worker_group.placement_group_handle import (
        DefaultPlacementGroupHandle,
    )
    from ray.util import placement_group

    class Handle(DefaultPlacementGroupHandle):
        def wait(self, timeout_seconds: float = 30.0) -> bool:
            deadline = time.monotonic() + timeout_seconds
            while not is_interrupted():
                left = deadline - time.monotonic()
                if left <= 0 or super().wait(min(left, LOOK_SECONDS)):
                    return left > 0
            raise _Interrupted

    group = placement_group(
        bundles=[context.resources_per_worker] * context.num_workers,
        strategy=context.placement_strategy,
        bundle_label_selector=context.label_selector,
        name=name,
    )
    return Handle(group)


def _give_context(
    group: Any, workers: Sequence[Any], barrier: Any, values: Mapping[str, Sequence[Any]]
) -> None:
    """Give each of the `workers` Ray Train's context of it, `values` by rank among others: as Ray's
    own, but for a handle of the controller, which is no actor here. Workers would ask it which
    checkpoints were reported to it, and none is.
    """
    import ray

    starts = [
        worker.actor.init_train_context.remote(
            train_run_context=group._train_run_context,
            distributed_context=worker.distributed_context,
            synchronization_actor=barrier,
            storage_context=group._storage_context,
            worker_callbacks=group._worker_callbacks_to_propagate,
            controller_actor=None,
            **{name: of_rank[rank] for name, of_rank in values.items()},
        )
        for rank, worker in enumerate(workers)
    ]
    ray.get(starts)
    group._decorate_worker_log_file_paths(workers)


def watching_callback() -> Any:
    """A callback of the controller, for one run, that tells the workers of nodes that Ray announces
    to go away.
    """
    # no public names
    from ray.train.v2._internal.execution.callback import WorkerGroupCallback
    from ray.train.v2._internal.execution.preemption import PreemptionWatcher

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

    return WatchNodes()


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
