"""What a sweep's records say so far, as far as the next record depends on it.

A record is a JSON object of kind ``record``; `what` it says is one of:

| what | says of a run (`run_names.py`) |
|---|---|
| ``start`` | it runs, from now on or again: its parameters, tags, title, config, data sets |
| ``points`` | metrics after so many steps |
| ``tags`` | tags |
| ``experiment`` | tags of the experiment |
| ``end`` | how it ended |
| ``file`` | a text that lies in the sweep's folder is an artifact of it |
| ``model`` | its encoder, in the sweep's folder, is a model; where ``measured``, a registered one |
| ``describe`` | the description of its registered model |
| ``end_all`` | of the parent how it ended; what else still runs was killed |
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.tracking.run_names import SWEEP_RUN
from orchestrator.tracking.tags import NONFINITE_TAG
from orchestrator.trial_state import TrialState

KILLED = "killed"
FOR_GOOD = {TrialState.FINISHED, TrialState.PRUNED, TrialState.FAILED}

Record = dict[str, Any]


def record(what: str, run: str = "", **fields: Any) -> Record:
    """A record of now that says `what` of `run`."""
    named = {"run": run} if run else {}
    return {"kind": "record", "what": what, **named, **fields, "time": int(time.time() * 1000)}


@dataclass(frozen=True)
class RunEnd:
    """How a run ended: `state` is one that is over, or ``killed``; `reason` is for a person."""

    state: str
    reason: str = ""


@dataclass
class Counters:
    """Metric points by outcome; dropped ones are 0 in a healthy sweep."""

    accepted: int = 0
    repeated: int = 0
    nonfinite: int = 0
    dropped: int = 0

    def as_metrics(self) -> dict[str, int]:
        """The counts by name."""
        return {f"tracking/{name}_points": count for name, count in vars(self).items()}


@dataclass
class _Points:
    """The points of one run: which metrics each step has; of an ended run each metric's last
    step."""

    names_at: dict[int, frozenset[str]] = field(default_factory=dict)
    last: dict[str, int] = field(default_factory=dict)

    def has(self, name: str, step: int) -> bool:
        return name in self.names_at.get(step, ()) or step <= self.last.get(name, -1)

    def forget_steps(self) -> None:
        for step, names in self.names_at.items():
            self.last.update({name: max(step, self.last.get(name, -1)) for name in names})
        self.names_at.clear()


class Recorded:
    """The starts, the ends and the steps of every run in the records that were added."""

    def __init__(self) -> None:
        self.starts: dict[str, Record] = {}
        self.ends: dict[str, RunEnd] = {}
        self.counters = Counters()
        self._points: dict[str, _Points] = {}
        self._nonfinite: set[tuple[str, str]] = set()
        self._names: dict[frozenset[str], frozenset[str]] = {}

    def add(self, records: Iterable[Record]) -> None:
        """Take in `records`, in their order."""
        for one in records:
            self._add(one)

    def points(self, run: str, metrics: Mapping[str, Any], step: int) -> list[Record]:
        """The records of the points that are new: a metric has one value at each step of a run, the
        first one.

        A repeat (a trial that was resumed from an earlier checkpoint) is counted. A value that is
        not finite is not stored: its first step stands in the tag ``prp.nonfinite.<metric>``.
        """
        points = self._points.setdefault(run, _Points())
        finite: dict[str, float] = {}
        tags: dict[str, str] = {}
        for name, value in metrics.items():
            number = _as_float(value)
            if number is None:
                self.counters.dropped += 1
            elif not math.isfinite(number):
                self.counters.nonfinite += 1
                if (run, name) not in self._nonfinite:
                    tags[NONFINITE_TAG + name] = f"{number} at step {step}"
            elif points.has(name, step):
                self.counters.repeated += 1
            else:
                finite[name] = number
        self.counters.accepted += len(finite)
        found = [record("points", run, step=step, metrics=finite)] if finite else []
        return [*found, *([record("tags", run, tags=tags)] if tags else [])]

    def last_step(self, run: str) -> int:
        """The last step of `run` that has a point; 0 where none has."""
        points = self._points.get(run, _Points())
        return max([0, *points.names_at, *points.last.values()])

    def _add(self, one: Record) -> None:
        what, run = one["what"], one.get("run", "")
        if what == "start":
            self.starts[run] = one
            self.ends.pop(run, None)
        elif what == "points":
            self._add_points(run, int(one["step"]), one["metrics"])
        elif what == "tags":
            self._nonfinite |= {
                (run, tag.removeprefix(NONFINITE_TAG))
                for tag in one["tags"]
                if tag.startswith(NONFINITE_TAG)
            }
        elif what == "end":
            self._end(run, RunEnd(one["state"], one["reason"]))
        elif what == "end_all":
            for open_run in self.starts.keys() - self.ends.keys():
                self._end(open_run, RunEnd(state_at_end(one, open_run), one["reason"]))

    def _add_points(self, run: str, step: int, metrics: Mapping[str, float]) -> None:
        points = self._points.setdefault(run, _Points())
        names = frozenset(metrics) | points.names_at.get(step, frozenset())
        points.names_at[step] = self._names.setdefault(names, names)  # one set for equal windows

    def _end(self, run: str, end: RunEnd) -> None:
        self.ends[run] = end
        if end.state in FOR_GOOD and run in self._points:
            self._points[run].forget_steps()


def state_at_end(end_all: Record, run: str) -> str:
    """How an ``end_all`` ends `run`: the parent as it says, any other one was cut off."""
    return str(end_all["state"]) if run == SWEEP_RUN else KILLED


def _as_float(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
