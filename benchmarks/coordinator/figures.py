"""Timings of the coordinator's calls, in CPU-seconds of the thread that answers them."""

from __future__ import annotations

import pickle
import random
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.coordinator.large_sweep import open_coordinator
from orchestrator.coordinator.coordinator import Coordinator
from orchestrator.coordinator.sweep_state import CoordinatorSetup
from orchestrator.trial.messages import Answer, Sender

METRIC = "retrieval/recall_at_1"
NUM_NEW = 5
NUM_POLLS = 50


@dataclass(frozen=True)
class Figure:
    """The median and the largest of several measurements of one call, and the goal (0: none)."""

    what: str
    median: float
    largest: float
    unit: str
    goal: float = 0.0

    def line(self) -> str:
        """A row of the table."""
        goal = f"<= {self.goal:g} {self.unit}" if self.goal else ""
        reached = "" if not self.goal else "yes" if self.median <= self.goal else "**no**"
        return (
            f"| {self.what} | {self.median:.3g} {self.unit} | {self.largest:.3g} {self.unit} | "
            f"{goal} | {reached} |"
        )


def peak_mib() -> float:
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(what: str, calls: list[Callable[[], Any]], goal_ms: float = 0.0) -> Figure:
    """Call each once; milliseconds of this thread's CPU."""
    times = []
    for call in calls:
        started = time.thread_time()
        call()
        times.append(1000 * (time.thread_time() - started))
    return Figure(what, statistics.median(times), max(times), "ms", goal_ms)


def measure(setup: CoordinatorSetup, num_running: int) -> list[Figure]:
    """Open the coordinator, let it take up what runs, and time what it is asked for."""
    draw = random.Random(1)
    opened: list[Coordinator] = []
    figures = [timed("open the sweep", [lambda: opened.append(open_coordinator(setup))])]
    coordinator = opened[0]
    senders: list[Sender] = []

    def ask() -> None:
        senders.append(coordinator.trials.ask().sender)

    figures.append(timed("ask, a trial that ran before", [ask] * num_running))
    before = peak_mib()
    figures.append(timed("ask, a new trial", [ask] * NUM_NEW, goal_ms=1000.0))
    grown = peak_mib() - before
    figures.append(Figure("memory that new trials took", grown, grown, "MiB", goal=300.0))
    figures.append(Figure("memory of the process", peak_mib(), peak_mib(), "MiB"))
    for sender in senders:
        coordinator.trials.workers_started(sender)
    logs = [_log(coordinator, sender, step) for sender in senders for step in (1, 2, 3)]
    figures.append(timed("log", logs))
    rungs = [_rung(coordinator, sender, draw.gauss(0.35, 0.05)) for sender in senders]
    figures.append(timed("rung decision", rungs, goal_ms=10.0))
    running = dict.fromkeys((sender.number for sender in senders), 8)
    study, pruning = coordinator.trials._study, coordinator.trials._pruning
    again = [lambda: study.decide_overtaken(1, running, pruning._rule)] * NUM_POLLS
    figures.append(timed("compare running trials again", again))
    figures.append(timed("gate", [coordinator.trials.gate] * NUM_POLLS))
    polls = [lambda: coordinator.screen.cost_line()] * NUM_POLLS
    figures.append(timed("screen: cost line", polls, goal_ms=2.0))
    figures.append(timed("screen: views", [coordinator.screen.views] * NUM_POLLS, goal_ms=2.0))
    kib = len(pickle.dumps(coordinator.screen.views())) / 1024
    figures.append(Figure("screen: views, pickled", kib, kib, "KiB"))
    while not coordinator.recorder.flush():
        pass  # MLflow is still being told; the database goes with the folder
    coordinator.recorder.close("finished")
    return figures


def _log(coordinator: Coordinator, sender: Sender, step: int) -> Callable[[], Answer]:
    metrics = {"train/loss": 1.0, "time/data_wait_share": 0.1, "epoch": 0.0}
    return lambda: coordinator.trials.log(sender, metrics, step)


def _rung(coordinator: Coordinator, sender: Sender, value: float) -> Callable[[], Answer]:
    return lambda: coordinator.trials.at_rung(sender, 1, 10, {METRIC: value})
