"""A study in a process of its own, which can be interrupted or killed, and its records."""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from orchestrator.ray_cluster import fork_server
from tests.journals import study_of
from tests.tools.marked_processes import MARKER_VARIABLE, end_marked_processes, marked_processes
from tests.tools.process_state import parent_of

REPOSITORY = Path(__file__).resolve().parents[2]
TINY_STUDY = REPOSITORY / "tests" / "e2e" / "tiny_study.py"
TINY_PRESET = REPOSITORY / "tests" / "e2e" / "tiny.toml"
# The loader writes 2.7 MB of addresses into the pages of torch's library that it loads.
RELOCATED_KILOBYTES = 1000


class StudyProcess:
    """``with StudyProcess(home, ["--trials", "3"]) as study: study.wait()``; everything it started
    is gone after the block.
    """

    def __init__(
        self,
        home: Path,
        words: Sequence[str],
        environment: Mapping[str, str] | None = None,
        script: Path = TINY_STUDY,
    ) -> None:
        self.home = home
        self.marker = secrets.token_hex(8)
        home.mkdir(parents=True, exist_ok=True)
        self.log_path = home / f"study-{self.marker[:6]}.log"
        clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        own = {
            "PRP_HOME": str(home),
            MARKER_VARIABLE: self.marker,
            "PYTHONPATH": str(REPOSITORY),
            "COLUMNS": "200",
        }
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(script), *words],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=home,
                env={**clean, **own, **(environment or {})},
                preexec_fn=_listen_to_ctrl_c,
            )

    def __enter__(self) -> StudyProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        end_marked_processes(self.marker)

    @property
    def output(self) -> str:
        """All that it printed so far."""
        return self.log_path.read_text(errors="replace")

    def wait(self, timeout_seconds: float = 800.0) -> int:
        """Its exit code. Raises `TimeoutError` with the end of its output."""
        try:
            return self.process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError(
                f"the study still runs after {timeout_seconds} s:\n{self.output[-3000:]}"
            ) from None

    def wait_for(self, pattern: str, timeout_seconds: float = 500.0) -> None:
        """Wait until it has printed what matches `pattern`. Raises `AssertionError` with the output
        when it ends first or the time is up.
        """
        deadline = time.monotonic() + timeout_seconds
        while not re.search(pattern, self.output):
            assert self.process.poll() is None, (
                f"the study ended with {self.process.returncode} before it said "
                f"{pattern!r}:\n{self.output[-3000:]}"
            )
            assert time.monotonic() < deadline, (
                f"the study did not say {pattern!r}:\n{self.output[-3000:]}"
            )
            time.sleep(0.2)

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """kill -9 of the driver alone."""
        self.process.kill()
        self.process.wait()

    def ray_processes(self, name: str) -> set[int]:
        """The ids of its Ray cluster's processes that show themselves as ``ray::name...``."""
        processes = marked_processes(self.marker)
        return {one for one in processes if _command_line(one).startswith(f"ray::{name}")}

    def ray_processes_with_torch(self, *names: str) -> list[str]:
        """Those of `names` of which a process has loaded torch itself, and ``driver`` where this
        one has; one that was forked from a process with torch shares that one's memory.
        """
        beside = [name for name in names if any(map(_has_loaded_torch, self.ray_processes(name)))]
        return [*beside, *(["driver"] if _has_loaded_torch(self.process.pid) else [])]

    def fork_servers(self) -> set[int]:
        """The ids of the processes whose forks become its workers."""
        processes = marked_processes(self.marker)
        servers = {one for one in processes if fork_server.__file__ in _command_line(one)}
        return {one for one in servers if parent_of(one) not in servers}  # no fork without a name

    def kill_fork_servers(self) -> set[int]:
        """kill -9 of all of them; their ids."""
        servers = self.fork_servers()
        for one in servers:
            os.kill(one, signal.SIGKILL)
        return servers

    def wait_for_fork_servers(self, timeout_seconds: float = 120.0) -> set[int]:
        """The ids of those that there are then."""
        deadline = time.monotonic() + timeout_seconds
        while not (servers := self.fork_servers()):
            assert time.monotonic() < deadline, f"no fork server:\n{self.output[-3000:]}"
            time.sleep(0.2)
        return servers

    def kill_ray_process(
        self, name: str, *, but_not: Collection[int] = (), timeout_seconds: float = 120.0
    ) -> None:
        """kill -9 of one of them, once there is one that is not among `but_not`."""
        deadline = time.monotonic() + timeout_seconds
        while not (found := self.ray_processes(name) - set(but_not)):
            assert time.monotonic() < deadline, f"no ray::{name}:\n{self.output[-3000:]}"
            time.sleep(0.2)
        os.kill(min(found), signal.SIGKILL)

    def left_behind(self, patience_seconds: float = 90.0) -> list[str]:
        """Command lines of processes that it started and that outlive it by more than
        `patience_seconds`.
        """
        deadline = time.monotonic() + patience_seconds
        while (left := marked_processes(self.marker)) and time.monotonic() < deadline:
            time.sleep(0.5)
        return [_command_line(process_id) for process_id in left]

    @property
    def sweep_id(self) -> str:
        """The newest sweep under this home."""
        return max((self.home / "sweeps").iterdir(), key=lambda folder: folder.stat().st_mtime).name


def trial_rows(storage: Path, sweep_id: str) -> list[tuple[int, str, float | None]]:
    """``(number, state, value)`` of each trial in the sweep's study that fitted the corpus."""
    return [
        (trial.number, trial.state.name, trial.value)
        for trial in study_of(storage, sweep_id).trials
        if "unfit" not in trial.user_attrs
    ]


def rung_rows(storage: Path, sweep_id: str) -> list[tuple[int, int, float]]:
    """``(number, epoch, value)`` of each rung that a trial reported."""
    return [
        (trial.number, epoch, value)
        for trial in study_of(storage, sweep_id).trials
        for epoch, value in sorted(trial.intermediate_values.items())
    ]


def sweep_notes(storage: Path, sweep_id: str) -> dict[str, str]:
    """The notes kept with the sweep itself."""
    return dict(study_of(storage, sweep_id).user_attrs)


def _listen_to_ctrl_c() -> None:
    """A shell without job control starts what is in its background with SIGINT ignored, and that is
    inherited.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _has_loaded_torch(process_id: int) -> bool:
    """Whether the process has pages of torch's libraries that it shares with no other one."""
    library, found = "", 0
    try:
        for line in Path(f"/proc/{process_id}/smaps").read_text().splitlines():
            words = line.split()
            if not words[0].endswith(":"):  # the first line of a mapping
                library = words[-1]
            elif words[0] == "Private_Dirty:" and library.endswith("libtorch_cpu.so"):
                found += int(words[1])
    except OSError:  # it has just ended
        return False
    return found > RELOCATED_KILOBYTES


def _command_line(process_id: int) -> str:
    try:
        return (
            Path(f"/proc/{process_id}/cmdline")
            .read_bytes()
            .replace(b"\0", b" ")
            .decode(errors="replace")[:200]
        )
    except OSError:
        return f"process {process_id} (just ended)"


def confirmed_pairs(study: StudyProcess) -> set[str]:
    """What of the confirmation a driver said that it did: "trial 3 with seed 8"."""
    return set(re.findall(r"^(trial \d+ with seed \d+): retrieval", study.output, re.MULTILINE))
