"""A tiny sweep on a local Ray whose driver holds credentials; prints where they can be read.

A process of its own, because Ray passes its environment on: `python -m
tests.tools.credentials_canary FOLDER`, with `VARIABLES` set to STEM/NAME. Prints
one JSON object: what a trial and a nested worker have in their environment, and the files of Ray's
session, of the sweep and the command lines that hold STEM.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
from ray.train import TrainingFailedError

from orchestrator.config.run_config import load_config, to_tree
from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.cost.budget import Admission, Gate
from orchestrator.ray_cluster.connect import ray_cluster
from orchestrator.ray_cluster.worker_group import fit_workers
from orchestrator.trial import run_trials
from orchestrator.trial.messages import TrialTask

VARIABLE = "AWS_SECRET_ACCESS_KEY"
VARIABLES = (
    VARIABLE,
    "AWS_ACCESS_KEY_ID",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AZURE_CLIENT_SECRET",
    "AZURE_STORAGE_CONNECTION_STRING",
    "DATABASE_URL",
    "DOCKER_PASSWORD",
    "GITHUB_TOKEN",
    "GOOGLE_API_KEY",
    "HF_TOKEN",
    "MLFLOW_FLASK_SERVER_SECRET_KEY",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_USERNAME",
    "MYSQL_PWD",
    "OPENAI_API_KEY",
    "PGPASSWORD",
    "SSH_PASSPHRASE",
    "WANDB_API_KEY",
)
FAILURE = "no answer from"  # what a failure of these tests says, before the address


@ray.remote(num_cpus=0)
class OneTrial:
    """A coordinator's trial desk that has one trial to run, and keeps what was found in it."""

    def __init__(self) -> None:
        self._found: dict[str, Any] = {}
        self._left = 1

    def num_left(self) -> int:
        return self._left

    def num_to_start(self) -> int:
        return self._left

    def num_waiting(self) -> int:
        return 0

    def gate(self) -> Gate:
        return Gate(Admission.START)

    def choose(self, slot: str) -> bool:
        return True

    def ask(self, slot: str) -> TrialTask:
        self._left = 0
        return TrialTask(0, to_tree(load_config("demo", [])), is_resumed=False)

    def keep(self, found: dict[str, Any]) -> None:
        self._found.update(found)

    def found(self) -> dict[str, Any]:
        return self._found


def command_lines_with(canary: str) -> list[str]:
    """The command lines of this machine's processes that hold `canary`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it ended while we looked
            continue
        if canary in line:
            found.append(line.replace(canary, "CANARY")[:300])
    return found


def files_with(canary: str, folder: Path) -> list[str]:
    """The files below `folder` that hold `canary`."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return sorted(
        path.relative_to(folder).as_posix()
        for path in files
        if canary.encode() in path.read_bytes()
    )


def say_all(who: str) -> str:
    """Log every canary, and an address with one as its password, and let a thread fail with it;
    the address.
    """
    stem = os.environ[VARIABLE].partition("/")[0]
    address = f"postgresql://prp:{stem}@db/prp"
    logger = logging.getLogger("a library of somebody else")
    logger.warning("%s %s %s", who, address, [os.environ[name] for name in VARIABLES])
    thread = threading.Thread(target=fail, args=[address])
    thread.start()
    thread.join()
    return address


def fail(address: str) -> None:
    """Raise an error that names `address`."""
    raise OSError(f"{FAILURE} {address}")


def worker(work: Mapping[str, Any]) -> dict[str, str]:
    """A Ray Train worker: it keeps what it has in its environment, and fails loudly."""
    ray.get(work["trials"].keep.remote({"worker": os.environ.get(VARIABLE, "")}))
    fail(say_all("worker"))
    return {}


def trial(config: Mapping[str, Any], *, spec: SweepSpec, trials: Any) -> dict[str, float]:
    """A trial: its own environment, its worker's, and the command lines while both run."""
    task: TrialTask = config["task"]
    run_config = load_config("demo", [])
    say_all("driver")
    try:
        fit_workers(
            worker,
            {"trials": trials},
            run_config,
            state_dir=spec.state_dir,
            name="canary",
            max_failures=0,
        )
    except TrainingFailedError:
        logging.getLogger("ours").exception("the worker failed")
    value = os.environ.get(VARIABLE, "")
    stem = value.partition("/")[0]
    lines = command_lines_with(stem) if stem else ["the trial has no credentials"]
    ray.get(trials.keep.remote({"trial": value, "command_lines": lines}))
    return {"number": float(task.number)}


def main(folder: Path) -> None:
    """Run the sweep in `folder` and print what was found."""
    stem = os.environ[VARIABLE].partition("/")[0]
    spec = SweepSpec(
        sweep_id="canary",
        config={},
        storage_uri=str(folder),
        tracking_uri="",
        data_uri="",
        manifest_uri="",
        tags={},
    )
    run_trials.run_trial = trial
    with ray_cluster(num_cpus=2):
        trials = OneTrial.remote()  # type: ignore[attr-defined]
        run_trials.run_trials(spec, trials, limit=lambda: 1, verbose=False)
        session = Path(ray._private.worker._global_node.get_session_dir_path())
        found = ray.get(trials.found.remote())
        found["files"] = files_with(stem, session)
        found["num_logs"] = len(list(session.glob("logs/*")))
        found["redacted"] = files_with("postgresql://prp:***@db/prp", session)
    found["sweep"] = files_with(stem, folder)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
