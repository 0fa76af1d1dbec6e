"""The watchdog: what it lets pass, what it ends, and what it leaves in the log."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from prp_core.training.watchdog import HANG_EXIT_CODE, Watchdog
from tests.tools import training_worker
from tests.warm_processes import warm_context


def test_the_limits_follow_what_goes_on() -> None:
    watchdog = Watchdog(10.0)
    assert watchdog.limit_seconds == 0 and not watchdog.tick(1e6)
    watchdog.outer("reading videos")
    assert watchdog.limit_seconds == 240
    watchdog.step()
    assert watchdog.limit_seconds == 100, "the first step warms up"
    assert not watchdog.tick(99.0)
    watchdog.outer("reading videos")
    watchdog.step()
    assert watchdog.limit_seconds == 990, "ten times the slowest so far"
    watchdog.tick(0.5)
    watchdog.pause()
    assert watchdog.limit_seconds == 0 and not watchdog.tick(1e6)
    watchdog.step()
    assert watchdog.limit_seconds == 990


def test_quick_steps_keep_the_limit_that_was_given() -> None:
    watchdog = Watchdog(10.0)
    for _ in range(3):
        watchdog.step()
        watchdog.tick(0.25)
        watchdog.outer("reading videos")
    watchdog.step()
    assert watchdog.limit_seconds == 10
    assert not watchdog.tick(9.5) and watchdog.tick(1.0)


def test_zero_switches_it_off() -> None:
    with Watchdog(0.0) as watchdog:
        watchdog.step()
        assert not watchdog.tick(1e9)
        assert not any(thread.name == "watchdog" for thread in threading.enumerate())


def test_a_hang_leaves_the_stacks_of_all_threads(tmp_path: Path) -> None:
    ended = threading.Event()
    codes: list[int] = []

    def end(code: int) -> None:
        codes.append(code)
        ended.set()

    with (tmp_path / "log").open("w+") as log, Watchdog(0.05, log=log, end=end) as watchdog:
        watchdog.step()
        assert ended.wait(60)
        log.seek(0)
        text = log.read()
    assert codes == [HANG_EXIT_CODE]
    assert "watchdog: this worker made no step: for " in text
    assert "it was training a step (training.step_timeout_seconds = 0.05)" in text
    assert "in test_a_hang_leaves_the_stacks_of_all_threads" in text


@pytest.mark.parametrize("module", ["debugpy", "pydevd"])
def test_nothing_is_ended_under_a_debugger(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prp_core.training import watchdog

    assert not watchdog.is_debugged() or sys.gettrace() is not None
    monkeypatch.setitem(sys.modules, module, watchdog)
    assert watchdog.is_debugged()


def test_the_peer_of_a_stopped_worker_ends_itself(tmp_path: Path) -> None:
    """Two real workers of one process group; one is stopped and takes part no more."""
    workers = [
        warm_context().Process(target=training_worker.main, args=(rank, tmp_path))
        for rank in range(2)
    ]
    steps, words = tmp_path / "stdout-0", tmp_path / "stderr-0"
    try:
        for worker in workers:
            worker.start()
        deadline = time.monotonic() + 120
        while not (steps.exists() and steps.read_text().count("step ") >= 3):
            assert workers[0].is_alive() and time.monotonic() < deadline, words.read_text()[-2000:]
            time.sleep(0.05)
        assert workers[1].pid is not None
        os.kill(workers[1].pid, signal.SIGSTOP)
        workers[0].join(120)
        said = words.read_text()
        assert workers[0].exitcode == HANG_EXIT_CODE, said[-2000:]
        assert "watchdog: this worker made no step: for " in said
        assert "prp_core/training/loop.py" in said
        # it waits for the other while both sum gradients, or agree on a checkpoint
        assert "torch/autograd" in said or "torch/distributed" in said
        assert workers[1].is_alive()
    finally:
        for worker in workers:
            worker.kill()
            worker.join()
