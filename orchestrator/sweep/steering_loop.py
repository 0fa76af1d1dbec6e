"""The driver's side of steering: every second it lets the coordinator do what people asked for.

A stop of the sweep reaches the driver's main thread as SIGTERM does, so that there is one way to
leave. The thread has ended when the context has: Ray ends a process, with exit code 1, in which a
thread is within one of its calls when the main thread disconnects.
"""

from __future__ import annotations

import signal
import threading

import ray

from orchestrator.coordinator.coordinator import CoordinatorHandle

ADVANCE_SECONDS = 1.0
LOOK_SECONDS = 0.2  # while it waits for the coordinator, whether the context has ended


class SteeringLoop:
    """Runs on a thread of its own while the context is open; `stopped_by` says who stopped the
    sweep (empty: nobody).
    """

    def __init__(self, coordinator: CoordinatorHandle) -> None:
        self._coordinator = coordinator
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="steering", daemon=True)
        self.stopped_by = ""

    def __enter__(self) -> SteeringLoop:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(ADVANCE_SECONDS):
            try:
                self.stopped_by = self._advance()
            except ray.exceptions.RayError:  # it is being restarted, and asked again
                continue
            if self.stopped_by and not self._end.is_set():
                signal.raise_signal(signal.SIGTERM)
                return

    def _advance(self) -> str:
        """Who stopped the sweep; empty: nobody, or the context ended before the answer came."""
        answer = self._coordinator.steering.advance.remote()
        while not ray.wait([answer], timeout=LOOK_SECONDS)[0]:
            if self._end.is_set():
                return ""
        return str(ray.get(answer))
