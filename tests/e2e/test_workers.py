"""Trials of two workers on a local cluster of three nodes: pruning, and the loss of a worker."""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.util import placement_group_table

from orchestrator.config.run_config import to_tree
from orchestrator.coordinator.coordinator import start_coordinator
from orchestrator.ray_cluster.concurrency import check_capacity
from orchestrator.search.record import read_study
from orchestrator.search.space import apply_space
from orchestrator.sweep.driver import coordinator_setup
from orchestrator.trial.reproduce_run import train_on_cluster
from orchestrator.trial.run_trials import run_trials
from tests.kept_plan import kept_plan
from tests.tools.cluster_nodes import ThreeNodes
from tests.tools.study_process import TINY_PRESET, rung_rows, trial_rows

# Of its two trials the second is worse than the first at the first rung, by two videos of six.
SEED = 2


def space(trial: Any) -> None:
    """Rates only: what is pruned here is decided by the pruner, which is the real one."""
    trial.suggest_categorical("pretext.playback_rate.rates", ["1-2", "1-3", "2-3"])


@pytest.fixture
def three_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Ray cluster of three nodes on this machine, whose processes have the test's home."""
    monkeypatch.setenv("PRP_HOME", str(tmp_path / "home"))
    with ThreeNodes():
        yield


def plan_for(videos: Path, *settings: str) -> Any:
    """The plan of a sweep of two-worker trials."""
    words = [
        "--preset",
        str(TINY_PRESET),
        "--data",
        str(videos),
        "--set",
        "resources.num_workers=2",
    ]
    for setting in settings:
        words += ["--set", setting]
    return kept_plan(words, space)


def groups_in_use() -> int:
    """Placement groups that hold or want resources now, the trial drivers' own (memory alone) left
    out.
    """
    tables = placement_group_table().values()
    return sum(
        table["state"] != "REMOVED" and any("CPU" in bundle for bundle in table["bundles"].values())
        for table in tables
    )


def wait_until(what: Any, seconds: float) -> bool:
    """Whether `what()` comes true within `seconds`."""
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def kill_one_worker(coordinator: Any) -> int:
    """kill -9 of one of the first trial's workers once its first rung is in; the process's id."""
    assert wait_until(
        lambda: any(view.rungs for view in ray.get(coordinator.screen.views.remote())), 600
    )
    actors = (
        ray._private.state.actors().values()
    )  # Ray's public listing of actors needs a dashboard, which this cluster has not
    workers = [
        actor["Pid"]
        for actor in actors
        if "RayTrainWorker" in actor["ActorClassName"] and actor["State"] == "ALIVE"
    ]
    os.kill(workers[0], signal.SIGKILL)
    return workers[0]


def test_a_killed_worker_is_replaced_and_after_every_prune_nothing_holds_a_place(
    three_nodes: None, tiny_videos: Path
) -> None:
    plan = plan_for(
        tiny_videos,
        f"seed={SEED}",
        "sweep.num_trials=2",
        "training.num_epochs=4",
        "training.checkpoint_every_steps=1",
    )
    assert check_capacity(plan.config).max_concurrent_trials == 1
    coordinator = start_coordinator(coordinator_setup(plan))
    killed: list[int] = []
    freed: dict[int, bool] = {}
    done = threading.Event()

    def watch() -> None:
        killed.append(kill_one_worker(coordinator))
        ended = False
        while not ended:
            ended = done.wait(
                0.2
            )  # and look once more after it: the last trial and the sweep end together
            for view in ray.get(coordinator.screen.views.remote()):
                if view.state.is_over and view.number not in freed:
                    freed[view.number] = wait_until(
                        lambda: groups_in_use() <= 1, 15
                    )  # the next trial's may be there already

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        run_trials(plan.spec, coordinator.trials, limit=lambda: 1, verbose=False)
    finally:
        done.set()
        watcher.join()
    assert len(killed) == 1
    assert freed == {0: True, 1: True}
    assert groups_in_use() == 0
    assert wait_until(lambda: ray.available_resources().get("CPU") == 2.0, 10), (
        ray.available_resources()
    )
    ray.get(coordinator.recorder.close.remote("finished"))
    rows = trial_rows(Path(os.environ["PRP_HOME"]), plan.spec.sweep_id)
    assert [state for _, state, _ in rows] == ["COMPLETE", "PRUNED"], (
        "the first has nobody to be compared with, and went on from its checkpoint"
    )
    rungs = [1, 2, 4]
    for number, state, _ in rows:
        epochs = [
            epoch
            for trial, epoch, _ in rung_rows(Path(os.environ["PRP_HOME"]), plan.spec.sweep_id)
            if trial == number
        ]
        assert epochs == (rungs if state == "COMPLETE" else rungs[: len(epochs)])
    check_that_the_first_trial_comes_out_the_same(plan)


def check_that_the_first_trial_comes_out_the_same(plan: Any) -> None:
    """Train trial 0 of a sweep again on the same cluster, on two workers: its figure at the first
    rung is the recorded one.
    """
    first = read_study(plan.spec).trials[0]
    tree = to_tree(apply_space(plan.config, first.values))
    again = train_on_cluster(
        dataclasses.replace(plan.spec, sweep_id="reproduced", config=tree), last_epoch=1
    )
    assert again.failure == ""
    assert again.values["epoch"] == {again.last_step: 1.0}
    assert again.values[plan.config.sweep.objective] == {again.last_step: first.rungs[1]}
