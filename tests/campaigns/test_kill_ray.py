"""kill -9 of the processes of Ray's head, and of the tasks that measure beside trials and after.

    uv run pytest -s -m campaign tests/campaigns/test_kill_ray.py

``PRP_OF_THE_HEAD=gcs_server`` kills one process of the head alone. ``PRP_PEACE=FOLDER`` keeps the
records of the undisturbed sweep for the next run, ``PRP_KILL_SEED=5`` draws other times.

The processes that train are killed in `test_nemesis.py`.
"""

from __future__ import annotations

import os
import random
import re
import signal
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.campaigns.peace import kept_records
from tests.sweep_check import Records, faults_of, records_of
from tests.tools.marked_processes import marked_processes
from tests.tools.study_process import TINY_PRESET, StudyProcess, confirmed_pairs

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(3600)]

# What their command lines say. A node goes with either of its agents, the driver with the head.
OF_THE_HEAD = os.environ.get(
    "PRP_OF_THE_HEAD",
    "log_monitor.py,monitor.py,dashboard.py,absent_agent.py,ray::RuntimeEnvAgent,gcs_server",
).split(",")
ENDS_THE_NODE = ("absent_agent.py", "ray::RuntimeEnvAgent")
ENDS_THE_DRIVER = (*ENDS_THE_NODE, "gcs_server")
OF_CONFIRMING = ("ray::_drive", "ray::RayTrainWorker")
FINAL_TASKS = (
    "ray::_baselines",
    "ray::_export",
    "ray::_recognition",
    "ray::_time_panel",
    "ray::_test",
    "ray::_showcase",
)
BASELINES = "ray::_baselines"
TRIES = 3  # of a task of the final evaluation
PATIENCE_SECONDS = 900.0
SEED = int(os.environ.get("PRP_KILL_SEED", "0"))
NUM_TRIALS = 2
SETTINGS = (
    "sweep.pruner=none",
    "sweep.sampler=random",
    "showcase.num_trials=1",
    "confirm.num_candidates=2",
    "training.num_epochs=16",
    "training.checkpoint_every_steps=2",
    "resources.num_workers=1",
)
# Of two trials that begin together the first is long enough for all that is done to the baselines.
LONG_TRIAL = MappingProxyType({"PRP_TEST_SLOW": "1"})
LONG_TRIAL_SETTINGS = (
    "sweep.pruner=none",
    "sweep.sampler=random",
    "training.num_epochs=4",
    "training.checkpoint_every_steps=10",
    "resources.num_workers=1",
)
STEP = re.compile(r"/step-(\d+)[^/]*/")


def command(videos: Path, folder: Path, settings: Sequence[str] = SETTINGS) -> list[str]:
    """The command of the sweep ``one``, which `folder` holds with its MLflow database."""
    words = ["--preset", str(TINY_PRESET), "--data", str(videos), "--trials", str(NUM_TRIALS)]
    words += ["--sweep", "one", "--storage", str(folder), "--mlflow", tracking_uri(folder)]
    for setting in settings:
        words += ["--set", setting]
    return words


def tracking_uri(folder: Path) -> str:
    """Where the sweep of `folder` has its runs."""
    return f"sqlite:///{folder / 'mlflow.db'}"


def peace_of(
    name: str,
    factory: pytest.TempPathFactory,
    videos: Path,
    settings: Sequence[str],
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Records:
    """The records of the sweep with `settings` that nothing disturbs."""

    def run() -> Records:
        folder = factory.mktemp("peace")
        words = command(videos, folder, settings)
        with StudyProcess(folder / "home", words, environment) as study:
            assert study.wait(1800) == 0, study.output[-4000:]
        return records_of(str(folder), "one", tracking_uri(folder))

    return kept_records(name, run)


@pytest.fixture(scope="module")
def peace(tmp_path_factory: pytest.TempPathFactory, tiny_videos: Path) -> Records:
    """The records of the sweep that ends with a confirmation."""
    return peace_of("kill-ray", tmp_path_factory, tiny_videos, SETTINGS)


@pytest.fixture(scope="module")
def peace_with_a_long_trial(tmp_path_factory: pytest.TempPathFactory, tiny_videos: Path) -> Records:
    """The records of the sweep whose first trial trains for long after the second has ended."""
    given = tmp_path_factory, tiny_videos, LONG_TRIAL_SETTINGS, LONG_TRIAL
    return peace_of("kill-baselines", *given)


def faults(folder: Path, peace: Records) -> list[str]:
    """How the sweep in `folder` differs from one in `peace`."""
    return faults_of(
        str(folder),
        "one",
        tracking_uri(folder),
        num_trials=NUM_TRIALS,
        reference=peace,
        all_runs=True,
    )


def found(study: StudyProcess, what: str) -> list[int]:
    """The processes of `study` whose program or title is `what`: a raylet has the command line of
    its agents among its own words.
    """
    lines = {}
    for process_id in marked_processes(study.marker):
        try:
            lines[process_id] = Path(f"/proc/{process_id}/cmdline").read_bytes()
        except OSError:  # it has ended
            continue
    wanted = what.encode()
    named = re.compile(rb"(^|\0)([^\0 ]*/)?" + re.escape(wanted))
    return [one for one, line in lines.items() if named.search(line)]


def num_steps(folder: Path, of: str = "trials") -> int:
    """How many steps the trials of the sweep in `folder` have committed, or its confirming runs
    (`of`: ``confirm``).
    """
    newest: dict[str, int] = {}
    for path in folder.glob(f"{of}/*/checkpoints/*/*"):
        if matched := STEP.search(str(path)):
            run = path.parts[-4]
            newest[run] = max(newest.get(run, 0), int(matched[1]))
    return sum(newest.values())


@contextmanager
def patience(study: StudyProcess, what: str) -> Iterator[float]:
    """A block that may last `PATIENCE_SECONDS`; its deadline."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    yield deadline
    assert time.monotonic() < deadline, f"{what}:\n{study.output[-3000:]}"


def wait_for_a_step(study: StudyProcess, folder: Path, of: str = "trials") -> None:
    """Wait until `num_steps` grows."""
    known = num_steps(folder, of)
    with patience(study, "no step") as deadline:
        while num_steps(folder, of) <= known and time.monotonic() < deadline:
            assert study.process.poll() is None, study.output[-3000:]
            time.sleep(0.2)


def kill(study: StudyProcess, what: str) -> bool:
    """kill -9 of the first process named `what`, once there is one; False where `study` ended."""
    with patience(study, f"there is no {what}") as deadline:
        while time.monotonic() < deadline and study.process.poll() is None:
            if processes := found(study, what):
                os.kill(min(processes), signal.SIGKILL)
                return True
            time.sleep(0.1)
    return False


def kill_each(study: StudyProcess, kinds: Collection[str], draw: random.Random) -> Sequence[str]:
    """kill -9 of the first process of each of `kinds`, a moment after it began, until `study` ends;
    those that were killed.
    """
    killed: list[str] = []
    with patience(study, "the sweep does not end") as deadline:
        while time.monotonic() < deadline and study.process.poll() is None:
            for what in set(kinds) - set(killed):
                if processes := found(study, what):
                    time.sleep(draw.uniform(0.0, 0.7))
                    try:
                        os.kill(min(processes), signal.SIGKILL)
                    except ProcessLookupError:  # the task was quicker
                        continue
                    killed.append(what)
            time.sleep(0.02)
    return killed


def test_processes_of_the_head_are_killed_one_after_the_other(
    tmp_path: Path, tiny_videos: Path, peace: Records
) -> None:
    """A sweep goes on, or ends in one line and is resumed by the same command."""
    words = command(tiny_videos, tmp_path)
    folder = tmp_path / "sweeps" / "one"
    number = 0
    study = StudyProcess(tmp_path / "driver-0", words)
    try:
        for what in OF_THE_HEAD:
            wait_for_a_step(study, folder)
            if not found(study, what):
                sys.stdout.write(f"{what}: a local Ray has none\n")
                continue
            assert kill(study, what)
            known, started = num_steps(folder), time.monotonic()
            with patience(study, f"it hangs without {what}") as deadline:
                while study.process.poll() is None and time.monotonic() < deadline:
                    if num_steps(folder) > known + 1 and what not in ENDS_THE_DRIVER:
                        break
                    time.sleep(0.2)
            code, seconds = study.process.poll(), time.monotonic() - started
            last = (study.output.splitlines() or [""])[-1]
            sys.stdout.write(f"{what}: exit code {code} after {seconds:.0f} s; {last[:300]}\n")
            if code is None:
                continue
            assert code not in (0, 2), study.output[-3000:]
            if what not in ENDS_THE_NODE:  # with whose raylet Ray ends the driver at once
                assert "Ray's head node" in study.output and "--resume one" in study.output
            assert study.left_behind() == []
            study.__exit__()
            number += 1
            study = StudyProcess(tmp_path / f"driver-{number}", words)
        assert study.wait(1800) == 0, study.output[-4000:]
    finally:
        study.__exit__()
    assert faults(tmp_path, peace) == []


def test_processes_of_the_end_are_killed_once_each(
    tmp_path: Path, tiny_videos: Path, peace: Records
) -> None:
    """Of confirming runs a driver and a worker, then tasks of the final evaluation;
    nothing of the end is missing, doubled or different.
    """
    draw = random.Random(f"{SEED} end")
    folder = tmp_path / "sweeps" / "one"
    with StudyProcess(tmp_path / "home", command(tiny_videos, tmp_path)) as study:
        study.wait_for("confirming trials ", PATIENCE_SECONDS)
        for what in OF_CONFIRMING:
            wait_for_a_step(study, folder, "confirm")
            assert kill(study, what), f"{what}:\n{study.output[-3000:]}"
        killed = kill_each(study, FINAL_TASKS, draw)
        sys.stdout.write(f"killed: {[*OF_CONFIRMING, *killed]}\n")
        assert study.wait() == 0, study.output[-4000:]
        assert study.left_behind() == []
        assert len(confirmed_pairs(study)) == 4, study.output[-3000:]
        said = [line for line in study.output.splitlines() if "(raylet)" not in line]
        assert not [line for line in said if "failed" in line]
        assert "--resume" not in study.output, "nothing is to be made up"
        assert {"ray::_export", "ray::_recognition"} <= set(killed)  # baselines may be done
    assert faults(tmp_path, peace) == []
    assert (folder / "report.html").is_file()


@pytest.mark.parametrize("num_kills", [TRIES - 1, TRIES])
def test_baselines_are_killed_while_a_trial_trains(
    num_kills: int, tmp_path: Path, tiny_videos: Path, peace_with_a_long_trial: Records
) -> None:
    """Ray tries them again; what it gives up is started again at the end of the sweep."""
    draw = random.Random(f"{SEED} baselines {num_kills}")
    words = command(tiny_videos, tmp_path, LONG_TRIAL_SETTINGS)
    with StudyProcess(tmp_path / "home", words, LONG_TRIAL) as study:
        for number in range(num_kills):
            with patience(study, f"no task {number}") as deadline:
                while not found(study, BASELINES) and time.monotonic() < deadline:
                    assert study.process.poll() is None, study.output[-3000:]
                    time.sleep(0.02)
            time.sleep(draw.uniform(0.0, 0.7))
            assert found(study, "ray::RayTrainWorker"), f"no trial trains:\n{study.output[-3000:]}"
            assert kill(study, BASELINES)
        assert study.wait() == 0, study.output[-4000:]
        assert study.left_behind() == []
        assert "--resume" not in study.output, "nothing is to be made up"
        sys.stdout.write(f"{BASELINES}: killed {num_kills} times\n")
    assert faults(tmp_path, peace_with_a_long_trial) == []
