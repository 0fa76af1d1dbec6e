"""The nemesis of a sweep: kill -9 and SIGSTOP of every kind of process that a sweep consists of.

A sweep runs on a local Ray cluster of a head and two nodes, with a real MLflow server and a real S3
server, behind a fault proxy where a test puts one. `Battlefield` starts them, finds the processes
of each kind, and brings back what does not come back by itself (a node, a server, the driver).
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any

import ray

from orchestrator.storage.open_store import open_store
from tests.fixtures_mlflow import MlflowServer
from tests.fixtures_s3 import S3Server
from tests.tools.cluster_nodes import ThreeNodes
from tests.tools.process_state import is_there, process_group, state_of
from tests.tools.study_process import TINY_PRESET, StudyProcess

PATIENCE_SECONDS = 240.0
SECONDS_AWAY = 4.0  # of an S3 server that was killed

STEP = re.compile(r"/step-(\d+)[^/]*/")


class Kind(StrEnum):
    """A kind of process of a sweep."""

    DRIVER = "driver"
    """The study's own process, which a scheduler starts again."""
    COORDINATOR = "coordinator"
    """The actor that owns the study; Ray restarts it."""
    TRIAL_DRIVER = "trial driver"
    """The actor of Ray Tune that drives a trial."""
    WORKER = "worker"
    """A training worker."""
    RAYLET = "raylet"
    """A node of the cluster, with all that runs there."""
    MLFLOW = "mlflow"
    """The MLflow server."""
    S3 = "s3"
    """The S3 server."""


# For how long a process of each kind is stopped: longer than those wait who have something to fear
# from one that wakes up. A node cannot be stopped alone: it goes, as one that was killed.
STOPPED_SECONDS = {
    Kind.DRIVER: 20.0,  # its lease may be taken over after 12
    Kind.COORDINATOR: 30.0,  # a run that ends waits 20 for its points
    Kind.TRIAL_DRIVER: 30.0,
    Kind.WORKER: 90.0,  # Ray Train ends one that says nothing for 45; a step may take 60
    Kind.MLFLOW: 60.0,  # a request is tried again for 52
    Kind.S3: 45.0,  # the longest read timeout is 30
}

# A process of this kind is ended by others when it has been stopped for longer, as it should be.
ENDED_AFTER_SECONDS = {Kind.WORKER: 40.0}

# What an actor of each kind is called in Ray's table of actors.
ACTORS = {
    Kind.COORDINATOR: ("Coordinator",),
    Kind.TRIAL_DRIVER: ("ImplicitFunc", "run_trial"),
    Kind.WORKER: ("RayTrainWorker",),
}


class Battlefield:
    """``with Battlefield(home, videos, storage, mlflow) as field: field.strike(Kind.WORKER)``."""

    def __init__(
        self,
        home: Path,
        videos: Path,
        storage: str,
        mlflow: MlflowServer,
        *,
        name: str,
        settings: Sequence[str],
        s3: S3Server | None = None,
        environment: Mapping[str, str] | None = None,
        nodes: ThreeNodes | None = None,
    ) -> None:
        """The sweep called `name` over `videos`, kept in `storage`, which `s3` serves;
        `settings` are values of its config. `nodes` is a cluster that runs and stays; without one
        the field has its own.
        """
        self.home = home
        self.mlflow = mlflow
        self._s3 = s3
        self._nodes = nodes or ThreeNodes()
        self._own = contextlib.nullcontext() if nodes else self._nodes
        self._environment = dict(environment or {})
        self._folder_uri = f"{storage}/sweeps/{name}"
        self._words = ["--preset", str(TINY_PRESET), "--data", str(videos), "--sweep", name]
        self._words += ["--storage", storage, "--mlflow", mlflow.uri]
        for setting in settings:
            self._words += ["--set", setting]
        self.study: StudyProcess | None = None
        self.outputs: list[str] = []
        self._num_drivers = 0

    def __enter__(self) -> Battlefield:
        self._own.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end_study()
        self._own.__exit__(kind, error, trace)

    # ---- the sweep

    def start(self) -> StudyProcess:
        """Start the driver, or start it again: the same command both times."""
        self._end_study()
        self._num_drivers += 1
        self.study = StudyProcess(
            self.home / f"driver-{self._num_drivers}",  # a home of its own: another machine
            [*self._words, "--address", self._nodes.address],
            self._environment,
        )
        return self.study

    def wait_until(self, what: Callable[[], bool], title: str) -> None:
        """Wait until `what()` is true. Raises `AssertionError` with what the driver said."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not what():
            said = self.study.output[-3000:] if self.study else ""
            assert time.monotonic() < deadline, f"{title} did not come true:\n{said}"
            assert self.study is None or self.study.process.poll() is None, (
                f"the driver ended before {title}:\n{said}"
            )
            time.sleep(0.2)

    def num_steps(self) -> int:
        """How many steps all trials have committed together, by their newest checkpoints."""
        newest: dict[str, int] = {}
        for info in open_store(self._folder_uri, check=False).list("trials/"):
            found = STEP.search(info.key)
            if found:
                trial = info.key.split("/")[1]
                newest[trial] = max(newest.get(trial, 0), int(found[1]))
        return sum(newest.values())

    # ---- its processes

    def processes(self, kind: Kind) -> list[int]:
        """The ids of the processes of `kind` that run now."""
        if kind == Kind.DRIVER:
            return [self.study.process.pid] if self.study else []
        if kind == Kind.RAYLET:
            return self._nodes.raylets()
        if kind == Kind.MLFLOW:
            return process_group(self.mlflow.process_id) if self.mlflow.process_id else []
        if kind == Kind.S3:
            return [self._s3.process_id()] if self._s3 else []
        alive: list[Any] = [
            actor for actor in ray._private.state.actors().values() if actor["State"] == "ALIVE"
        ]
        return [
            actor["Pid"]
            for actor in alive
            if any(name in actor["ActorClassName"] for name in ACTORS[kind])
            and is_there(actor["Pid"])
        ]

    def strike(self, kind: Kind, which: int = 0) -> None:
        """kill -9 of a process of `kind`, the one at `which`, as soon as there is one; what nobody
        restarts is brought back.
        """
        if kind == Kind.S3:
            assert self._s3 is not None
            self._s3.kill_and_restart(SECONDS_AWAY)
            return
        self.wait_until(lambda: bool(self.processes(kind)), f"a {kind}")
        if kind == Kind.MLFLOW:
            self.mlflow.kill()
            time.sleep(3.0)
            self.mlflow.start()
        elif kind == Kind.RAYLET:
            self._nodes.kill_and_replace(which)
        elif kind == Kind.DRIVER:
            assert self.study is not None
            self.study.kill()
            self.start()
        else:
            victims = self.processes(kind)
            os.kill(victims[which % len(victims)], signal.SIGKILL)

    def stop(self, kind: Kind, which: int = 0) -> bool:
        """SIGSTOP of a process of `kind`, the one at `which`, as soon as there is one, and SIGCONT
        after `STOPPED_SECONDS`; of MLflow, whose server is several, all. Whether one was stopped
        for long enough: it may have been ended before, or its sweep.
        """
        self.wait_until(lambda: bool(self.processes(kind)), f"a {kind}")
        found = self.processes(kind)
        victims = found if kind == Kind.MLFLOW else [found[which % len(found)]]
        for process_id in victims:
            os.kill(process_id, signal.SIGSTOP)
        began, stopped = time.monotonic(), victims
        try:
            while stopped and time.monotonic() - began < STOPPED_SECONDS[kind]:
                time.sleep(0.2)
                stopped = [process_id for process_id in victims if state_of(process_id) == "T"]
        finally:
            for process_id in stopped:
                os.kill(process_id, signal.SIGCONT)
        seconds = time.monotonic() - began
        return bool(stopped) or seconds > ENDED_AFTER_SECONDS.get(kind, STOPPED_SECONDS[kind])

    def _end_study(self) -> None:
        if self.study is not None:
            self.outputs.append(self.study.output)
            self.study.__exit__()
            self.study = None
