"""The points of a run that the sweep's storage is not known to have yet, in the run's first worker.

They are sent without waiting, and kept until the coordinator has said that the storage has them. A
coordinator that was restarted has lost what its predecessor had in memory alone, and says so by its
name: then they are sent again. Each checkpoint of the run carries them, so that they are sent again
as well when coordinator and worker died together, and by a later attempt that goes on from a
checkpoint which this one commits although the coordinator no longer hears it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray

from orchestrator.ray_cluster.composed_actor import PartHandle
from orchestrator.tracking.record_log import PointsHeld
from orchestrator.trial.messages import Answer
from orchestrator.trial.system_metrics import SystemMetrics
from prp_core.reporting import Points

Poll = Callable[[], PointsHeld | None]  # None: there is no answer yet
NOBODY = PointsHeld("", -1)  # has them: the call was lost
OUTDATED = PointsHeld("", -2)  # nobody takes them from this attempt: a later one has the run
ASK_AGAIN_SECONDS = 0.2
FLUSH_SECONDS = 20.0  # how long a run that has ended waits until the storage has its points


def poll_of(future: Any) -> Poll:
    """The answer to a call of the coordinator, as far as it is there."""

    def poll() -> PointsHeld | None:
        if not ray.wait([future], timeout=0)[0]:
            return None
        try:
            answer = ray.get(future)
        except ray.exceptions.RayError:
            return NOBODY
        return OUTDATED if answer == Answer.LEAVE else answer

    return poll


@dataclass
class _Point:
    """Metrics at a step; `order` is that of the call which sent them last, `holder` has them."""

    step: int
    metrics: dict[str, float]
    order: int
    holder: str = ""


@dataclass(frozen=True)
class _Call:
    """A call that is not answered yet."""

    order: int
    points: Sequence[_Point]
    poll: Poll


class PendingPoints:
    """Sends the points of one run by `send` (new ones) and `send_again`; neither waits."""

    def __init__(
        self, send: Callable[[Mapping[str, float], int], Poll], send_again: Callable[[Points], Poll]
    ) -> None:
        self._send = send
        self._send_again = send_again
        self._points: list[_Point] = []
        self._calls: list[_Call] = []
        self._num_calls = 0
        self._holder = ""  # who answered the newest call that was answered
        self._holder_since = -1
        self._is_outdated = False

    def add(self, metrics: Mapping[str, float], step: int) -> None:
        """Send the metrics of one step, and again what was lost."""
        self.collect()
        poll = self._send(metrics, step)
        point = _Point(step, {name: float(value) for name, value in metrics.items()}, 0)
        self._points.append(point)
        self._called([point], poll)

    def add_again(self, points: Points) -> None:
        """Send points that an earlier process of the run had pending."""
        mine = [_Point(step, dict(metrics), 0) for step, metrics in points]
        self._points += mine
        self._repeat(mine)

    def as_points(self) -> Points:
        """What is pending, as JSON keeps it: of an outdated attempt all that was not durable when
        it last was heard, because the next one may go on from its checkpoint.
        """
        self.collect()
        return [(point.step, point.metrics) for point in self._points]

    def collect(self) -> None:
        """Take in the answers that are there, and send again what nobody has any more."""
        while self._calls:
            held = self._calls[0].poll()
            if held is None:
                break  # calls are answered in their order: so are those after it
            self._answered(self._calls.pop(0), held)
        under_way = {id(point) for call in self._calls for point in call.points}
        lost = [
            point
            for point in self._points
            if id(point) not in under_way and (not point.holder or point.holder != self._holder)
        ]
        if lost and not self._is_outdated:
            self._repeat(lost)

    def flush(self, timeout_seconds: float) -> bool:
        """Wait until nothing is pending; False when the time is up, or when a later attempt has the
        run. For a run that has ended.
        """
        deadline = time.monotonic() + timeout_seconds
        self.collect()
        while self._points and not self._is_outdated and time.monotonic() < deadline:
            if not self._calls:
                self._repeat([])
            time.sleep(ASK_AGAIN_SECONDS)
            self.collect()
        return not self._points

    def _repeat(self, points: Sequence[_Point]) -> None:
        self._called(points, self._send_again([(one.step, one.metrics) for one in points]))

    def _called(self, points: Sequence[_Point], poll: Poll) -> None:
        self._num_calls += 1
        for point in points:
            point.order = self._num_calls
            point.holder = ""
        self._calls.append(_Call(self._num_calls, points, poll))

    def _answered(self, call: _Call, held: PointsHeld) -> None:
        if held == OUTDATED:
            self._is_outdated = True
            return
        for point in call.points:
            point.holder = held.holder
        if held.holder and call.order > self._holder_since:
            self._holder = held.holder
            self._holder_since = call.order
        self._points = [
            point
            for point in self._points
            if point.holder != held.holder
            or point.order > call.order
            or point.step > held.durable_step
        ]


class PointsReporter:
    """What the `Reporter`s of all runs share: points are sent without waiting."""

    def __init__(self, desk: PartHandle, *run: Any) -> None:
        """`desk` is the part of the coordinator whose `log` and `log_again` take the values `run`,
        which name the run, and then the points.
        """
        self._system = SystemMetrics()
        self._points = PendingPoints(
            lambda metrics, step: poll_of(desk.log.remote(*run, dict(metrics), step)),
            lambda points: poll_of(desk.log_again.remote(*run, points)),
        )

    def log(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Send `metrics`, with the load of this node now and then, and go on."""
        self._points.add({**metrics, **self._system.sample()}, step)

    def unconfirmed(self) -> Points:
        """What the sweep's storage is not known to have yet."""
        return self._points.as_points()

    def log_again(self, points: Points) -> None:
        """Send what an earlier process of this run had unconfirmed."""
        self._points.add_again(points)

    def flush(self) -> None:
        """Wait until the storage has all points, for `FLUSH_SECONDS` at most."""
        self._points.flush(FLUSH_SECONDS)
