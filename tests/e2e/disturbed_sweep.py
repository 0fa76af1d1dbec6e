"""A sweep of four trials that is interrupted, killed in every part, driven twice, and ends."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run

from tests.tools.hook_server import hook_server
from tests.tools.study_process import TINY_PRESET, StudyProcess, rung_rows, trial_rows

# Of the values that this seed draws: the second diverges (it is made to), the fourth is pruned, the
# first and the third reach the end. The first one is interrupted when its second rung, at epoch 2,
# is in: reached after the third one's, it would prune the first.
SEED = 51
PAST_ITS_SECOND_RUNG = r"trial 0 running at epoch (?:[3-9]|1\d)/"
# The first trial takes long enough to be interrupted.
SLOW = {"PRP_TEST_SLOW": "1", "PRP_TEST_SLOW_EPOCHS": "16"}
ENVIRONMENT = {"PRP_TEST_DIVERGE": "1", **SLOW}
RUNGS_OF_FIRST = [1, 2, 4, 8, 16]
BESIDE_WORKERS = ("Coordinator", "ImplicitFunc")  # by their names in Ray


@dataclass(frozen=True)
class Interrupted:
    """What Ctrl-C left: the exit code and output of the driver, processes, and the records."""

    exit_code: int
    output: str
    left_behind: list[str]
    statuses: dict[str, str]
    """MLflow's status of each run, by the trial's number; the parent's is under ``parent``."""
    states: dict[int, str]
    """Optuna's state of each trial."""
    rungs: list[tuple[int, int, float]]


@dataclass(frozen=True)
class Rival:
    """What a second driver of a sweep that is being driven by `driver` said, and its exit code."""

    exit_code: int
    output: str
    driver: int


@dataclass(frozen=True)
class Swept:
    """The ended sweep, and what was seen on the way to its end."""

    home: Path
    sweep_id: str
    interrupted: Interrupted
    rival: Rival
    output: str
    """What the last driver printed."""
    whole_output: str
    """What all drivers printed that drove the sweep."""
    left_behind: dict[str, list[str]]
    """The processes that outlived the driver that was killed, and the one that ended."""
    with_torch: list[str]
    """Which processes beside the workers had loaded torch while trials trained."""
    fork_servers: tuple[set[int], set[int]]
    """The processes whose forks were the workers: those that were killed, and those after them."""
    notified: list[dict[str, str]]
    """What its drivers posted to a hook."""


def sweep_with_disturbances(home: Path, videos: Path) -> Swept:
    """Start the sweep, press Ctrl-C, resume it, kill its driver with SIGKILL, lose the home that it
    had, and resume it from its storage, `home`, until it ends; the last driver is asked for one
    trial more, and loses its coordinator and the driver of a trial on its way. The best trial has a
    showcase. MLflow's database is in the storage as well.
    """
    with hook_server() as hook:
        swept = _disturbed(home, videos, ENVIRONMENT | {"PRP_NOTIFY": hook.url})
    return replace(swept, notified=[json.loads(body) for _, _, body in hook.got])


def _disturbed(home: Path, videos: Path, environment: dict[str, str]) -> Swept:
    machine = home / "machine-1"
    other_machine = home / "machine-2"
    words = ["--preset", str(TINY_PRESET), "--data", str(videos), "--trials", "3"]
    words += ["--storage", str(home), "--mlflow", f"sqlite:///{home / 'mlflow.db'}"]
    # a model's draws would depend on which trial was first
    for setting in ("showcase.num_trials=1", f"seed={SEED}", "sweep.sampler=random"):
        words += ["--set", setting]
    with StudyProcess(machine, words, environment) as first:
        first.wait_for(PAST_ITS_SECOND_RUNG)
        first.interrupt()
        exit_code = first.wait(120)
        left_behind = first.left_behind()
        sweep_id = first.sweep_id
        interrupted = Interrupted(
            exit_code,
            first.output,
            left_behind,
            run_statuses(home),
            {number: state for number, state, _ in trial_rows(home, sweep_id)},
            rung_rows(home, sweep_id),
        )
    with StudyProcess(machine, ["--resume", sweep_id], environment) as second:
        second.wait_for("resuming tiny")
        by_uri = ["--resume", f"{home}/sweeps/{sweep_id}"]
        with StudyProcess(other_machine, by_uri, environment) as other:
            rival = Rival(other.wait(300), other.output, second.process.pid)
        second.wait_for("trial 0 running")
        second.kill()
        outputs = [first.output, second.output]
        shutil.rmtree(machine, ignore_errors=True)
        last = [*by_uri, "--trials", "4"]
        with StudyProcess(other_machine, last, environment) as third:
            third.wait_for(r"trial 0 running at epoch")
            with_torch = third.ray_processes_with_torch(*BESIDE_WORKERS)
            fork_servers = kill_parts(third)
            assert third.wait() == 0, third.output[-4000:]
            left = {"ended": third.left_behind()}
        left["killed"] = second.left_behind()
        outputs.append(third.output)
    whole_output = "\n".join(outputs)
    ended = outputs[-1]
    return Swept(
        home,
        sweep_id,
        interrupted,
        rival,
        ended,
        whole_output,
        left,
        with_torch,
        fork_servers,
        [],
    )


def kill_parts(study: StudyProcess) -> tuple[set[int], set[int]]:
    """kill -9 of the fork server, of the driver of a trial, and of the coordinator while it is told
    of that. The fork servers that were killed, and those that came for what starts again.
    """
    killed = study.kill_fork_servers()
    study.kill_ray_process("ImplicitFunc")
    study.kill_ray_process("Coordinator")
    return killed, study.wait_for_fork_servers()


def runs_at(home: Path) -> tuple[MlflowClient, list[Run]]:
    """A client of the database under `home`, and every run of the sweeps there."""
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny")
    return client, list(client.search_runs([experiment.experiment_id], max_results=100))


def run_statuses(home: Path) -> dict[str, str]:
    """MLflow's status of each run, by the trial's number; the parent's is under ``parent``, a
    baseline's under its name.
    """
    _, runs = runs_at(home)
    return {name_of(run): run.info.status for run in runs}


def name_of(run: Run) -> str:
    """A trial's number, a baseline's name, or ``parent``."""
    tags = run.data.tags
    return str(tags.get("prp.trial") or tags.get("prp.baseline") or "parent")
