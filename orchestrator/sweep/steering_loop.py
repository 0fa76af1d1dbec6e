"""The driver's side of steering: every second it lets the coordinator do what people asked for.

A stop of the sweep reaches the driver's main thread as SIGTERM does, so that there is one way to
leave.
"""

from __future__ import annotations

import signal
import threading

import ray

from orchestrator.coordinator.coordinator import CoordinatorHandle

ADVANCE_SECONDS = 1.0


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

    def _run(self) -> None:
        while not self._end.wait(ADVANCE_SECONDS):
            try:
                self.stopped_by = ray.get(self._coordinator.steering.advance.remote())
            except ray.exceptions.RayError:  # it is being restarted, and asked again
                continue
            if self.stopped_by and not self._end.is_set():
                signal.raise_signal(signal.SIGTERM)
                return
