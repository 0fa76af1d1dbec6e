"""Rungs evaluated by tasks while two workers train on, and a cluster that grows in mid-sweep."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import tune
from ray.cluster_utils import Cluster

from orchestrator.config.run_config import RunConfig, flatten, with_values
from orchestrator.coordinator.coordinator import start_coordinator
from orchestrator.cost.budget import Admission, Gate
from orchestrator.ray_cluster.concurrency import ConcurrencyLimit, ConcurrencyPlan, plan_concurrency
from orchestrator.ray_cluster.connect import use_environment
from orchestrator.search.warm_start import plan_warm_start
from orchestrator.sweep.driver import coordinator_setup
from orchestrator.tracking.past_trials import PastTrial
from orchestrator.trial.messages import TrialTask
from orchestrator.trial.run_trials import CoordinatorSearcher, run_trials
from orchestrator.trial_state import TrialState
from tests.e2e.test_workers import groups_in_use, wait_until
from tests.kept_plan import kept_plan
from tests.tools.cluster_nodes import add_node
from tests.tools.study_process import TINY_PRESET, rung_rows

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(1800)]

RATES = "pretext.playback_rate.rates"


def space(trial: Any) -> None:
    """Rates only."""
    trial.suggest_categorical(RATES, ["1-2", "1-3", "2-3"])


@pytest.fixture(scope="module")
def growing_cluster() -> Iterator[Cluster]:
    """A head without CPUs and one node with two: for two workers of half a CPU, and an evaluation
    of one.
    """
    use_environment()
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "object_store_memory": 80 << 20, "include_dashboard": False},
    )
    try:
        add_node(cluster, num_cpus=2, object_store_memory=80 << 20)
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


def test_trials_without_an_end_are_pruned_late_at_the_rung_that_was_evaluated(
    growing_cluster: Cluster, tiny_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRP_HOME", str(tmp_path / "home"))
    words = ["--preset", str(TINY_PRESET), "--data", str(tiny_videos)]
    for setting in (
        "resources.num_workers=2",
        "resources.cpus_per_worker=0.5",
        "sweep.evaluator=task",
        "sweep.num_trials=2",
        "training.num_epochs=100000",
    ):
        words += ["--set", setting]
    plan = kept_plan(words, space)
    concurrency = plan_concurrency(plan.config)
    assert concurrency.evaluation.where == "task"
    params = {path: str(value) for path, value in flatten(plan.config).items()}
    best = PastTrial(
        "earlier", 0, TrialState.PRUNED, "same", params, {RATES: "1-2"}, {1: 2.0}
    )  # nobody scores two: every trial is below the bar
    warm = plan_warm_start([best], space, params, "same")
    coordinator = start_coordinator(
        coordinator_setup(plan, evaluation=concurrency.evaluation, warm=warm)
    )
    places: list[bool] = []
    done = threading.Event()

    def watch() -> None:
        told: set[int] = set()
        ended = False
        while not ended:
            ended = done.wait(
                0.2
            )  # and look once more after it: the last trial and the sweep end together
            for view in ray.get(coordinator.screen.views.remote()):
                if view.state.is_over and view.number not in told:
                    told.add(view.number)
                    places.append(wait_until(lambda: groups_in_use() == 0, 10) or len(told) < 2)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        run_trials(plan.spec, coordinator.trials, limit=lambda: 1, verbose=False)
    finally:
        done.set()
        watcher.join()
    assert places == [True, True] and groups_in_use() == 0
    assert wait_until(lambda: ray.available_resources().get("CPU") == 2.0, 20), (
        ray.available_resources()
    )
    views = ray.get(coordinator.screen.views.remote())
    ray.get(coordinator.recorder.close.remote("finished"))
    assert [view.state for view in views] == ["pruned", "pruned"]
    rows = rung_rows(Path(os.environ["PRP_HOME"]), plan.spec.sweep_id)
    mine = {
        view.number for view in views
    }  # numbers between them went to values that were tried before
    assert [(number, epoch) for number, epoch, _ in rows if number in mine] == [
        (number, 1) for number in sorted(mine)
    ], "no later rung is recorded"
    steps_per_epoch = -(-len(plan.parts.train) // plan.config.training.batch_size)
    assert all(view.step > steps_per_epoch for view in views), (
        "training went on while the rung was evaluated"
    )
    assert all("2.0000, the bar" in view.reason for view in views)
    assert sorted(Path(plan.spec.folder_uri).glob("trials/*/rungs/*")) == [], (
        "what the evaluation needed is gone with its trial"
    )


@ray.remote(num_cpus=0)
class Asking:
    """A trial desk that hands out numbers, and counts the trials that run."""

    def __init__(self) -> None:
        self.asked = 0
        self.present = 0
        self.most = 0

    def num_waiting(self) -> int:
        return 0

    def num_left(self) -> int:
        return 4 - self.asked

    def num_to_start(self) -> int:
        return 4 - self.asked

    def gate(self) -> Gate:
        return Gate(Admission.START)

    def choose(self, slot: str) -> bool:
        return True

    def ask(self, slot: str) -> TrialTask:
        self.asked += 1
        return TrialTask(self.asked, {}, is_resumed=False)

    def enter(self) -> None:
        self.present += 1
        self.most = max(self.most, self.present)

    def leave(self) -> None:
        self.present -= 1

    def seen(self) -> tuple[int, int]:
        return self.present, self.most


def stay_until_three(config: dict[str, Any], *, trials: Any) -> None:
    """A trial that ends once three were there at the same time."""
    ray.get(trials.enter.remote())
    deadline = time.monotonic() + 240
    while ray.get(trials.seen.remote())[1] < 3 and time.monotonic() < deadline:
        time.sleep(0.2)
    ray.get(trials.leave.remote())


def test_a_sweep_takes_the_places_of_a_node_that_joins_it(
    growing_cluster: Cluster, tmp_path: Path
) -> None:
    trials = Asking.remote()  # type: ignore[attr-defined]
    config: RunConfig = with_values(RunConfig(), {"sweep.evaluator": "worker"})
    concurrency: ConcurrencyPlan = plan_concurrency(config)
    assert concurrency.capacity.max_concurrent_trials == 2
    trainable = tune.with_resources(
        tune.with_parameters(stay_until_three, trials=trials), {"CPU": 1}
    )
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=CoordinatorSearcher(trials, ConcurrencyLimit(config, concurrency)),
            num_samples=4,
        ),
        run_config=tune.RunConfig(name="growing", storage_path=str(tmp_path), verbose=0),
    )
    thread = threading.Thread(target=tuner.fit)
    thread.start()
    try:
        assert wait_until(lambda: ray.get(trials.seen.remote())[0] == 2, 200)
        assert ray.get(trials.seen.remote())[1] == 2, "no more than there is room for"
        add_node(growing_cluster, num_cpus=1, object_store_memory=80 << 20)
        assert wait_until(lambda: ray.get(trials.seen.remote())[1] == 3, 200), (
            "the new node stays empty"
        )
    finally:
        thread.join()
