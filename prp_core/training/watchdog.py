"""A watchdog that ends a worker which has stopped making steps, its threads' stacks in the log.

A worker that hangs keeps all others waiting, and whoever started it sees a living process. When it
ends instead, its launcher starts the workers again from the newest checkpoint. Ended workers leave
exit code `HANG_EXIT_CODE` and, on standard error, where each thread was.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TextIO

HANG_EXIT_CODE = 75
# A step may take this many times the slowest one so far, however long that was.
SLOWEST_FACTOR = 10.0
# Where a worker waits for videos or for a store, those have limits of their own that end it with
# their reason, and a large object on a slow line may take long; the watchdog is for what they miss.
# By default half an hour, after which collective calls give up too.
OUTER_FACTOR = 24.0
TICKS_PER_LIMIT = 50
LONGEST_TICK_SECONDS = 1.0
DEBUGGERS = ("debugpy", "pydevd")


class Watchdog:
    """Ends this process when a step takes too long. Entered and left by the thread that trains.

    `step_seconds` is how long a step may take, 0: for ever. The first step may take ten times as
    long, since libraries warm up in it, and every later one ten times the slowest before it.
    Reading videos and writing checkpoints may take `OUTER_FACTOR` times `step_seconds`; what is
    announced as `pause` is not limited. Only time in which this process ran counts, so that a
    machine that was suspended wakes up unharmed; nothing is ended under a debugger.
    """

    def __init__(
        self,
        step_seconds: float = 0.0,
        *,
        log: TextIO | None = None,
        end: Callable[[int], object] = os._exit,
    ) -> None:
        self._step_seconds = step_seconds
        self._log = log
        self._end = end
        self._lock = threading.Lock()
        self._left = threading.Event()
        self._doing = ""
        self._limit = 0.0
        self._elapsed = 0.0
        self._is_step = False
        self._slowest_step = step_seconds  # of the first step nothing is known
        self._num_steps = 0
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Watchdog:
        if self._step_seconds > 0:
            self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._left.set()
        if self._thread is not None:
            self._thread.join()

    def step(self) -> None:
        """A step begins: reading is over, all workers have their share."""
        longest = max(self._step_seconds, SLOWEST_FACTOR * self._slowest_step)
        self._begin("training a step", longest, is_step=True)

    def outer(self, doing: str) -> None:
        """Something begins that has limits of its own; `doing` completes "for 300 s it was"."""
        self._begin(doing, OUTER_FACTOR * self._step_seconds)

    def pause(self) -> None:
        """Something begins that may take as long as it wants."""
        self._begin("", 0.0)

    def _begin(self, doing: str, limit: float, *, is_step: bool = False) -> None:
        if self._step_seconds <= 0:
            return
        with self._lock:
            if self._is_step:
                first = self._num_steps == 0
                self._slowest_step = max(0.0 if first else self._slowest_step, self._elapsed)
                self._num_steps += 1
            self._doing = doing
            self._limit = limit
            self._elapsed = 0.0
            self._is_step = is_step

    @property
    def limit_seconds(self) -> float:
        """How long what goes on now may take; 0: as long as it wants."""
        return self._limit

    def tick(self, seconds: float) -> bool:
        """Count `seconds` in which this process ran; whether what goes on has taken too long."""
        with self._lock:
            self._elapsed += seconds
            return 0 < self._limit < self._elapsed

    def _watch(self) -> None:
        tick = min(LONGEST_TICK_SECONDS, self._step_seconds / TICKS_PER_LIMIT)
        before = time.monotonic()
        while not self._left.wait(tick):
            now = time.monotonic()
            # More than that was not ours: the process was stopped, or starved of CPU.
            is_over = self.tick(min(now - before, 2 * tick))
            before = now
            if is_over and not is_debugged():
                self._bark(self._doing, self._elapsed)
                return

    def _bark(self, doing: str, elapsed: float) -> None:
        log = self._log or sys.stderr
        log.write(
            f"watchdog: this worker made no step: for {elapsed:.0f} s it was {doing} "
            f"(training.step_timeout_seconds = {self._step_seconds:g}); it ends, so that the "
            "workers start again from the newest checkpoint. Its threads:\n"
        )
        log.flush()
        faulthandler.dump_traceback(log, all_threads=True)
        log.flush()
        self._end(HANG_EXIT_CODE)


@dataclass
class Signals:
    """What watches a run and what it is told from outside.

    Both answer at once: `is_preempted` whether this worker's machine has been announced to go
    away, `should_leave` whether the run is to end now, which the first worker alone is asked.
    """

    watchdog: Watchdog = field(default_factory=Watchdog)
    is_preempted: Callable[[], bool] = lambda: False
    should_leave: Callable[[], bool] = lambda: False


def is_debugged() -> bool:
    """Whether a debugger holds this process, or is loaded in it."""
    if sys.gettrace() is not None or any(name in sys.modules for name in DEBUGGERS):
        return True
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return False
    return "\nTracerPid:\t0\n" not in status
