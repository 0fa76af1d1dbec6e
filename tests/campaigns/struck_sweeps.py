"""Seeded strikes, kill -9 and SIGSTOP, at the processes of sweeps until as many as asked were made.

A sweep takes many strikes. A stop goes on in a thread while other kinds are struck, as two things
fail at a time on a cluster. Each sweep runs to its end and is compared with one in peace; a fault
does not end the campaign. ``PRP_EVIDENCE=FOLDER`` keeps what a faulty sweep left: its storage,
MLflow's database, what its drivers said, Ray's logs.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import ray

from orchestrator.storage.open_store import open_store
from prp_core.data.object_store import read_all
from tests.campaigns.peace import kept_records
from tests.e2e.nemesis_sweep import NUM_TRIALS, in_peace, under_fire
from tests.fixtures_mlflow import MlflowServer
from tests.fixtures_s3 import S3Server
from tests.sweep_check import Records, faults_of
from tests.tools.nemesis import Battlefield, Kind

KILL, STOP = "kill", "stop"
Strike = tuple[str, Kind]  # how, and of which kind
EVIDENCE = "PRP_EVIDENCE"
# A driver that starts without a store is refused in one line, as it should be.
NOT_WITHOUT_STORE = (Kind.S3, Kind.DRIVER)
# What is ended by the end of which others: a stop of it would be cut short.
ENDED_WITH = {
    Kind.WORKER: (Kind.TRIAL_DRIVER,),
}
MAX_STARTS = 3  # after a driver that ended with another exit code than 0


@dataclass(frozen=True)
class Rhythm:
    """How sweeps are struck."""

    seed: int
    longest_pause_seconds: float
    """Strikes are 1 to so many seconds apart."""
    num_epochs: int
    """Of a trial: how long a sweep is, and so how many strikes it takes."""
    strikes_per_sweep: int
    """After so many a sweep is left in peace until it ends."""

    @property
    def settings(self) -> tuple[str, ...]:
        """Values of the sweep's config. Strikes come faster than checkpoints, so that failures
        without one are no reason to give a trial up.
        """
        return f"training.num_epochs={self.num_epochs}", "resources.max_failures=1000"


@dataclass
class Strikes:
    """The strikes of one sweep: kills one after the other; beside them, each in a thread, at most
    one stop and one strike at MLflow, whose start takes long.
    """

    battlefield: Battlefield
    left: list[Strike]
    draw: random.Random
    made: list[Strike] = field(default_factory=list)
    _beside: dict[Kind, threading.Thread] = field(default_factory=dict)

    def run(self, rhythm: Rhythm) -> None:
        """Strike until the sweep has ended, or nothing is left to be done to it."""
        while self.left and len(self.made) < rhythm.strikes_per_sweep:
            time.sleep(self.draw.uniform(1.0, rhythm.longest_pause_seconds))
            if self._has_ended():
                break
            self._strike_one()
        for thread in list(self._beside.values()):
            thread.join()

    def _has_ended(self) -> bool:
        study = self.battlefield.study
        return study is None or study.process.poll() is not None

    def _strike_one(self) -> None:
        """The next strike that can be made now, if any. Before a driver has claimed its sweep it
        is refused without a store.
        """
        study, which = self.battlefield.study, self.draw.randrange(8)
        has_begun = study is not None and "budget: " in study.output
        for position, (how, kind) in enumerate(self.left):
            if (kind in NOT_WITHOUT_STORE and not has_begun) or not self._may(how, kind):
                continue
            if not self.battlefield.processes(kind):
                continue
            del self.left[position]
            say(f"{how} {kind}")
            if how == STOP or kind == Kind.MLFLOW:
                thread = threading.Thread(target=self._strike_beside, args=(how, kind, which))
                self._beside[kind] = thread
                thread.start()
            else:
                self._strike(how, kind, which)
            return

    def _may(self, how: str, kind: Kind) -> bool:
        """Whether a strike would not undo one that goes on."""
        stopped = set(self._beside) - {Kind.MLFLOW}
        if kind in self._beside or (how == STOP and kind != Kind.MLFLOW and stopped):
            return False
        if any(kind in ENDED_WITH.get(one, ()) for one in stopped):
            return False
        if stopped == {Kind.S3}:
            return kind not in NOT_WITHOUT_STORE
        return not stopped or kind not in (Kind.DRIVER, Kind.RAYLET)

    def _strike_beside(self, how: str, kind: Kind, which: int) -> None:
        try:
            self._strike(how, kind, which)
        finally:
            del self._beside[kind]

    def _strike(self, how: str, kind: Kind, which: int) -> None:
        try:
            if how == STOP:
                is_made = self.battlefield.stop(kind, which)
                say(f"{kind} continues, or was ended" if is_made else f"{kind} was gone early")
            else:
                self.battlefield.strike(kind, which)
                is_made = True
        except (AssertionError, ProcessLookupError, ZeroDivisionError) as error:
            say(f"{how} {kind} was not made: {str(error)[:200]}")  # it has just ended
            is_made = False
        (self.made if is_made else self.left).append((how, kind))


@dataclass(frozen=True)
class Campaign:
    """Sweeps in `storage` over `videos`, with a server of each kind."""

    storage: str
    videos: Path
    mlflow: MlflowServer
    s3: S3Server
    rhythm: Rhythm

    def faults(self, folder: Path, title: str, strikes: Sequence[Strike]) -> list[str]:
        """Sweeps in which processes are struck until all `strikes` were made, in about their order;
        how those that differ from one in peace do so.
        """
        draw = random.Random(f"{self.rhythm.seed} {title}")
        word = title.replace(" ", "-")
        peace = f"peace-{word}"
        field = under_fire(folder / "peace", *self._places, peace, self._settings)
        reference = kept_records(
            f"nemesis-{self.rhythm.num_epochs}", lambda: in_peace(field, self.storage, peace)
        )
        left, made, faults = list(strikes), Counter[Strike](), list[str]()
        number = 0
        while left:
            name = f"fire-{word}-{self.rhythm.seed}-{number}"
            number += 1
            began = time.monotonic()
            new, struck = self._one_sweep(folder / name, name, left, draw, reference)
            made.update(struck)
            faults += [f"{name}: {fault}" for fault in new]
            say(
                f"{name}: {len(struck)} strikes in {time.monotonic() - began:.0f} s, faults: {new};"
                f" in all {summary(made)}"
            )
        return faults

    def _one_sweep(
        self, home: Path, name: str, left: list[Strike], draw: random.Random, reference: Records
    ) -> tuple[list[str], list[Strike]]:
        """What is wrong with one sweep, and the strikes that it took from `left`."""
        faults = []
        with under_fire(home, *self._places, name, self._settings) as battlefield:
            logs = Path(ray._private.worker.global_worker.node.get_logs_dir_path())
            strikes = Strikes(battlefield, left, draw)
            for _ in range(MAX_STARTS):
                battlefield.start()
                strikes.run(self.rhythm)
                study = battlefield.study
                assert study is not None
                code = study.wait(1800)
                outputs = [*battlefield.outputs, study.output]
                if code == 0:
                    break
                faults.append(f"a driver ended with {code}: {study.output[-600:]}")
        if code == 0:
            faults += faults_of(
                self.storage, name, self.mlflow.uri, num_trials=NUM_TRIALS, reference=reference
            )
        folder = os.environ.get(EVIDENCE)
        if faults and folder:
            self._keep(Path(folder) / name, name, outputs, logs)
        return faults, strikes.made

    @property
    def _places(self) -> tuple[Path, str, MlflowServer, S3Server]:
        return self.videos, self.storage, self.mlflow, self.s3

    @property
    def _settings(self) -> tuple[str, ...]:
        return self.rhythm.settings

    def _keep(self, folder: Path, name: str, outputs: Sequence[str], logs: Path) -> None:
        """Write what the sweep called `name` left below `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        store = open_store(f"{self.storage}/sweeps/{name}", check=False)
        for info in store.list(""):
            path = folder / "storage" / info.key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(read_all(store, info.key))
        with contextlib.closing(sqlite3.connect(self.mlflow.database_path)) as database:
            copy = sqlite3.connect(folder / "mlflow.db")
            database.backup(copy)
            copy.close()
        (folder / "drivers.log").write_text("\n==== next driver\n".join(outputs))
        with contextlib.suppress(shutil.Error):  # a file that went meanwhile
            shutil.copytree(logs, folder / "ray-logs", dirs_exist_ok=True)


def say(line: str) -> None:
    """Write a line with the time of day, at once."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stdout.flush()


def summary(made: Counter[Strike]) -> str:
    """How often each kind was struck: ``kill worker 20, stop s3 5``."""
    return ", ".join(f"{how} {kind} {times}" for (how, kind), times in sorted(made.items()))
