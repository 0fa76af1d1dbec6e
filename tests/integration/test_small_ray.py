"""What needs a Ray and no sweep: reading its nodes, cancelling tasks, evaluations in tasks."""

from __future__ import annotations

import dataclasses
import importlib
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import torch

from cluster.capacity import (
    ALIVE_ONLY,
    ClusterShape,
    NodeShape,
    TrialBundle,
    plan_capacity,
    read_cluster,
)
from orchestrator.config.run_config import RunConfig, parse_config, with_values
from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.coordinator.async_evaluation import AsyncEvaluation
from orchestrator.coordinator.coordinator import Coordinator
from orchestrator.coordinator.evaluation_queue import EvaluationQueue
from orchestrator.coordinator.pruning import Pruning
from orchestrator.coordinator.sweep_state import CoordinatorSetup
from orchestrator.coordinator.trial_desk import TrialDesk
from orchestrator.cost.account import SweepAccount
from orchestrator.data.open_data import open_data
from orchestrator.ray_cluster.concurrency import (
    EVALUATED_BY_WORKERS,
    ConcurrencyLimit,
    EvaluationPlan,
    plan_concurrency_on,
)
from orchestrator.ray_cluster.task_cancellation import cancel_task
from orchestrator.search.pruner import PruningRule
from orchestrator.search.query_hits import HITS, Queries
from orchestrator.search.space import Fit, TrialLimits
from orchestrator.search.study import SweepStudy
from orchestrator.storage.manifest_file import write_manifest
from orchestrator.sweep.driver import CoordinatorLost, close_failed
from orchestrator.sweep.steering_loop import SteeringLoop
from orchestrator.trial.evaluate_rung import hits_of
from orchestrator.trial.messages import Answer, Rung, Sender
from orchestrator.trial.worker import CoordinatorReporter
from prp_core.data.manifest import Manifest
from prp_core.data.object_store import LocalStore
from prp_core.pretext.network import build_network
from prp_core.training.checkpoint import CheckpointFolder
from prp_core.training.encoder_export import encoder_weights
from prp_core.training.loop import pretrain
from prp_core.training.rung_weights import write_rung
from prp_core.world import World
from tests.e2e.tiny_study import space as tiny_space
from tests.integration.test_sweep_account import spec_at
from tests.journals import journal_in
from tests.small_ray import small_ray
from tests.study_databases import study_database
from tests.tiny_corpus import make_corpus
from tests.tools.waiting import wait_until

CONFIG = with_values(
    RunConfig(),
    {"training.num_epochs": 4, "training.first_rung_epochs": 1, "training.reduction_factor": 2},
)


@pytest.fixture(scope="module", autouse=True)
def local_ray() -> Iterator[None]:
    with small_ray(num_cpus=3):
        yield


class TestReadingARealRay:
    def test_alone_it_is_its_own_node(self) -> None:
        shape = read_cluster({})
        assert shape == ClusterShape((NodeShape(3, 0, 1, 1),), source=ALIVE_ONLY)
        assert plan_capacity(TrialBundle(1, 1), shape, reserved_cpus=1).max_concurrent_trials == 2

    def test_the_variable_says_how_far_it_grows(self) -> None:
        shape = read_cluster(
            {
                "PRP_AUTOSCALED_NODES": json.dumps(
                    [{"name": "gpu", "cpus": 8, "gpus": 1, "max_count": 2}]
                )
            }
        )
        assert shape.nodes == (NodeShape(3, 0, 1, 1), NodeShape(8, 1, 0, 2, "gpu"))

    def test_the_file_of_the_head_says_how_far_it_grows(self, tmp_path: Path) -> None:
        gpu = {"resources": {"CPU": 8, "GPU": 1}, "max_workers": 5}
        config = {
            "max_workers": 4,
            "head_node_type": "head",
            "available_node_types": {"head": {"resources": {"CPU": 3}}, "gpu": gpu},
        }
        path = tmp_path / "cluster.yaml"
        path.write_text(json.dumps(config))
        shape = read_cluster({"PRP_AUTOSCALING_CONFIG": str(path)})
        assert shape == ClusterShape(
            (NodeShape(3, 0, 1, 1), NodeShape(8, 1, 0, 5, "gpu")),
            4,
            f"PRP_AUTOSCALING_CONFIG={path}",
        )
        assert plan_capacity(TrialBundle(2, 8, 1), shape).max_concurrent_trials == 2

    @pytest.mark.parametrize(
        "value", ["8", "{", '[{"cpus": 8}]', '[{"cpus": "many", "max_count": 1}]']
    )
    def test_an_unreadable_variable_is_named(self, value: str) -> None:
        with pytest.raises(ValueError, match="PRP_AUTOSCALED_NODES = .*max_count"):
            read_cluster({"PRP_AUTOSCALED_NODES": value})

    def test_a_missing_file_is_named(self) -> None:
        with pytest.raises(ValueError, match="PRP_AUTOSCALING_CONFIG = '/nowhere/cluster.yaml'"):
            read_cluster({"PRP_AUTOSCALING_CONFIG": "/nowhere/cluster.yaml"})

    def test_what_an_autoscaler_wrote_into_the_gcs_is_read(self) -> None:
        from ray._private.state import state
        from ray.core.generated.autoscaler_pb2 import ClusterConfig, NodeGroupConfig

        raylet: Any = importlib.import_module("ray._raylet")
        group = NodeGroupConfig(name="gpu", resources={"CPU": 8, "GPU": 1}, max_count=2)
        assert state.get_cluster_config() is None, (
            "Ray's own autoscaler fills this in now: use it first, and mend docs/clusters.md"
        )
        client = raylet.GcsClient(address=ray.get_runtime_context().gcs_address)
        key, namespace = (
            raylet.GCS_AUTOSCALER_CLUSTER_CONFIG_KEY.encode(),
            raylet.GCS_AUTOSCALER_STATE_NAMESPACE.encode(),
        )
        client.internal_kv_put(
            key, ClusterConfig(node_group_configs=[group]).SerializeToString(), True, namespace
        )
        try:
            assert read_cluster({}).nodes == (NodeShape(3, 0, 1, 1), NodeShape(8, 1, 0, 2, "gpu"))
        finally:
            client.internal_kv_del(key, False, namespace)


def test_the_watch_asks_the_cluster_again() -> None:
    now = [0.0]
    config = with_values(RunConfig(), {"sweep.max_concurrent_trials": 0})
    watch = ConcurrencyLimit(
        config,
        plan_concurrency_on(ClusterShape((NodeShape(1, 0, 1, 1),)), config),
        clock=lambda: now[0],
    )
    assert watch() == 1
    now[0] = 11.0
    assert watch() == 3


def test_a_cancelled_task_ends_and_one_that_has_just_ended_costs_nobody_the_process(
    tmp_path: Path,
) -> None:
    """Ray's own cancellation aborts this process within the first few dozen."""
    answer = ray.remote(max_retries=0)(lambda number: bytes(number))
    for _ in range(60):
        tasks = [answer.remote(1000) for _ in range(2)]
        assert len(ray.get(tasks)) == 2
        for task in tasks:
            cancel_task(task)
    runs = tmp_path / "runs"
    hangs = ray.remote(max_retries=0)(lambda: (runs.touch(), time.sleep(1000))).remote()
    while not runs.exists():
        time.sleep(0.05)
    cancel_task(hangs)
    with pytest.raises((ray.exceptions.TaskCancelledError, ray.exceptions.WorkerCrashedError)):
        ray.get(hangs, timeout=300)


def test_a_sweep_whose_coordinator_has_ended_for_good_says_how_to_go_on() -> None:
    class Recorder:
        def close(self, state: str, reason: str) -> str:
            raise AssertionError(f"{state}: {reason}")

    actor = ray.remote(Recorder).options(num_cpus=0).remote()
    plan: Any = SimpleNamespace(spec=SimpleNamespace(sweep_id="rates-1"))
    coordinator: Any = SimpleNamespace(recorder=actor)
    with pytest.raises(ray.exceptions.RayTaskError, match="failed: ValueError: a bug"):
        close_failed(plan, coordinator, ValueError("a bug"))
    ray.kill(actor)
    with pytest.raises(ray.exceptions.RayActorError):
        while True:  # it may answer until it is gone
            ray.get(actor.__ray_ready__.remote())
    with pytest.raises(CoordinatorLost, match="has ended or .* --resume rates-1$") as seen:
        close_failed(plan, coordinator, ValueError("a bug"))
    assert isinstance(seen.value.__cause__, ValueError)


def anything(values: Mapping[str, Any]) -> Fit:
    return Fit(True, "")


@ray.remote(num_cpus=0)
class BusyCoordinator:
    """Answers a driver's `SteeringLoop` after a long while."""

    def __init__(self, asked: Path) -> None:
        self._asked = asked

    def advance(self) -> str:
        self._asked.touch()
        time.sleep(600)
        return ""


def test_no_thread_waits_for_the_coordinator_when_a_driver_disconnects(tmp_path: Path) -> None:
    """For such a thread Ray ended a driver with exit code 1, after it had said all.

    The thread may be within any of Ray's calls: there is no moment for a test to disconnect at
    (`tests/campaigns/test_disconnect.py` tries many).
    """
    asked = tmp_path / "asked"
    actor = BusyCoordinator.remote(asked)
    loop = SteeringLoop(SimpleNamespace(steering=actor))
    with loop:
        wait_until(asked.exists)
    assert "steering" not in {thread.name for thread in threading.enumerate()}
    assert loop.stopped_by == ""
    ray.kill(actor)


class Sweep:
    """A real study and a real queue over Ray tasks; `values` are what the evaluations will find, or
    the errors they raise.
    """

    def __init__(
        self,
        folder: Path,
        values: dict[tuple[int, int], Any],
        pruner: str = "asha",
        num_trials: int = 0,
    ) -> None:
        self.values = values
        self.recorded: list[Any] = []
        self.started: list[tuple[int, int]] = []
        self.study = SweepStudy(
            study_database(folder), "sweep", _space, seed=1, num_startup_trials=4
        )
        running = [trial.number for trial in self.study.trials()]
        account = SweepAccount(journal_in(folder), CONFIG, None, lambda number: CONFIG)
        rule = PruningRule(pruner, CONFIG.training.reduction_factor)
        self.evaluation = AsyncEvaluation(
            self.study,
            Pruning(self.study, account, rule),
            EvaluationQueue(self._start, 2),
            lambda *what: self.recorded.append(what),
            objective=CONFIG.sweep.objective,
        )
        for number in running:
            self.evaluation.recover(number, 4)
        for _ in range(num_trials):
            self.evaluation.begin(self.study.ask(anything).number, 4)

    def _start(self, one: Rung) -> Any:
        self.started.append((one.number, one.epoch))
        return _found.remote(self.values[one.number, one.epoch])

    def submit_rung(self, number: int, epoch: int) -> None:
        self.evaluation.submit_rung(number, epoch, 10 * epoch, f"key-{number}-{epoch}")

    def until(self, what: Callable[[], Any]) -> None:
        deadline = time.monotonic() + 120
        while not what():
            assert time.monotonic() < deadline
            self.evaluation.advance()
            time.sleep(0.02)

    def scores(self, number: int) -> dict[int, float]:
        return self.study.scores()[number]


def _space(trial: Any) -> None:
    trial.suggest_float("pretext.playback_rate.loss_weight", 0.01, 10.0, log=True)


@ray.remote(num_cpus=0)
def _found(value: Any) -> tuple[dict[str, float], dict[str, bool]]:
    if isinstance(value, Exception):
        raise value
    return {"retrieval/recall_at_1": value}, {}


class TestDecisionsWhileTraining:
    def test_a_trial_far_beyond_is_pruned_at_the_rung_that_was_evaluated(
        self, tmp_path: Path
    ) -> None:
        sweep = Sweep(tmp_path, {(0, 1): 0.9, (1, 1): 0.2, (1, 2): 0.99}, num_trials=2)
        sweep.submit_rung(0, 1)
        sweep.until(lambda: sweep.scores(0))
        sweep.submit_rung(1, 1)
        sweep.submit_rung(1, 2)  # it trained on meanwhile
        sweep.until(lambda: sweep.evaluation.stop_reason(1))
        sweep.study.tell_pruned(1, sweep.evaluation.stop_reason(1) or "")
        sweep.evaluation.end(1)
        trial = sweep.study.trials()[1]
        assert (trial.state.name, trial.value, trial.intermediate_values) == (
            "PRUNED",
            0.2,
            {1: 0.2},
        )
        assert (1, 2) not in sweep.started, "what a stopped trial did later is not paid for again"
        assert [one.step for one, _ in sweep.recorded] == [10, 10]

    def test_the_first_to_arrive_is_stopped_when_better_ones_come(self, tmp_path: Path) -> None:
        sweep = Sweep(tmp_path, {(0, 1): 0.2, (1, 1): 0.9}, num_trials=2)
        sweep.submit_rung(0, 1)
        sweep.until(lambda: sweep.scores(0))
        assert sweep.evaluation.stop_reason(0) is None
        sweep.submit_rung(1, 1)
        sweep.until(lambda: sweep.scores(1))
        assert "since others came" in (sweep.evaluation.stop_reason(0) or "")
        assert sweep.evaluation.stop_reason(1) is None

    def test_submitted_twice_is_evaluated_once(self, tmp_path: Path) -> None:
        sweep = Sweep(tmp_path, {(0, 1): 0.5}, num_trials=1)
        for _ in range(3):
            sweep.submit_rung(0, 1)
        sweep.until(lambda: sweep.scores(0))
        sweep.submit_rung(0, 1)  # the trial resumed from its checkpoint there
        sweep.evaluation.advance()
        assert sweep.started == [(0, 1)] and len(sweep.recorded) == 1

    def test_the_last_rung_gives_the_final_metrics(self, tmp_path: Path) -> None:
        sweep = Sweep(tmp_path, {(0, 1): 0.5, (0, 2): 0.6, (0, 4): 0.4}, num_trials=1)
        for epoch in (1, 2, 4):
            sweep.submit_rung(0, epoch)
        assert sweep.evaluation.is_trained(0) and sweep.evaluation.final_metrics(0) is None
        sweep.until(lambda: sweep.evaluation.final_metrics(0))
        assert sweep.evaluation.final_metrics(0) == {"retrieval/recall_at_1": 0.4}
        assert sweep.started == [(0, 1), (0, 2), (0, 4)]
        assert sweep.scores(0) == {1: 0.5, 2: 0.6, 4: 0.4}

    def test_a_failed_evaluation_is_tried_three_times_and_then_said(self, tmp_path: Path) -> None:
        sweep = Sweep(
            tmp_path,
            {(0, 1): ValueError("no luck"), (0, 4): ValueError("none at all")},
            num_trials=1,
        )
        sweep.submit_rung(0, 1)
        sweep.until(lambda: sweep.recorded)
        assert sweep.started == [(0, 1)] * 3 and sweep.evaluation.stop_reason(0) is None, (
            "a rung without a value stops nobody"
        )
        assert sweep.recorded[0][1] == {"evaluation/failed_rungs": 1.0}
        sweep.submit_rung(0, 4)
        sweep.until(lambda: sweep.evaluation.failure(0))
        assert (
            sweep.evaluation.failure(0)
            == "its last rung could not be evaluated: ValueError: none at all"
        )

    def test_a_restarted_coordinator_finds_what_was_lost_and_remembers_who_was_stopped(
        self, tmp_path: Path
    ) -> None:
        values = {(0, 1): 0.9, (1, 1): 0.2, (0, 2): 0.7}
        first = Sweep(tmp_path, values, num_trials=2)
        first.submit_rung(0, 1)
        first.until(lambda: first.scores(0))
        first.submit_rung(1, 1)
        first.until(lambda: first.evaluation.stop_reason(1))
        first.submit_rung(0, 2)  # under way when the coordinator dies
        second = Sweep(tmp_path, values)
        assert second.evaluation.stop_reason(1) == first.evaluation.stop_reason(1)
        second.until(lambda: 2 in second.scores(0))
        assert second.started == [(0, 2)]

    def test_a_trial_that_has_ended_takes_no_word(self, tmp_path: Path) -> None:
        sweep = Sweep(tmp_path, {(0, 1): 0.5}, num_trials=1)
        sweep.submit_rung(0, 1)
        sweep.evaluation.advance()
        sweep.evaluation.end(0)
        sweep.submit_rung(0, 2)
        sweep.evaluation.advance()
        assert sweep.started == [(0, 1)] and sweep.recorded == []


NUM_QUERIES = 10


class Handle:
    """A desk of this process, called as the handle of an actor's is."""

    def __init__(self, desk: TrialDesk) -> None:
        self._desk = desk

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._desk, name)
        return SimpleNamespace(remote=lambda *words: ray.put(call(*words)))


def sweep_at(folder: Path) -> tuple[SweepSpec, Queries]:
    """A sweep over real videos that a label-free recall judges."""
    split = make_corpus(folder / "videos", num_train=6, num_val=NUM_QUERIES)
    parts = {"train": split.train[:4], "test": split.train[4:], "val": split.val}
    records = [
        dataclasses.replace(record, split=name) for name, part in parts.items() for record in part
    ]
    spec = spec_at(
        folder,
        **{
            "sweep.pruner": "paired",
            "sweep.objective": "label_free/recall_at_12",
            "evaluation.label_free": {"ks": "1-12"},
            "training.num_epochs": 2,
        },
    )
    manifest = Manifest(str(folder / "videos"), tuple(records))
    uri = write_manifest(manifest, LocalStore(folder / "manifests"))
    spec = dataclasses.replace(spec, data_uri=str(folder / "videos"), manifest_uri=uri)
    return spec, Queries({record.key: record.key for record in split.val})


def begun(coordinator: Coordinator) -> tuple[Sender, RunConfig]:
    """The first attempt at a new trial, and its config."""
    task = coordinator.trials.ask()
    sender = coordinator.trials.begin_attempt(task.sender, 0).sender
    assert sender is not None
    return sender, parse_config(task.config)


def test_what_a_worker_and_a_task_hit_decides_after_a_coordinators_death(
    tmp_path: Path, empty_mlflow_database: Path
) -> None:
    """Trained, evaluated, kept and compared: of the paired pruner all but the cluster."""
    shutil.copy(empty_mlflow_database, tmp_path / "mlflow.db")
    spec, queries = sweep_at(tmp_path)

    def coordinator_at(evaluation: EvaluationPlan) -> Coordinator:
        return Coordinator(
            CoordinatorSetup(
                spec=spec,
                space=tiny_space,
                limits=TrialLimits((44,) * 4),
                queries=queries,
                evaluation=evaluation,
                driver="one",
            )
        )

    first = coordinator_at(EVALUATED_BY_WORKERS)
    sender, config = begun(first)
    reporter = CoordinatorReporter(Handle(first.trials), sender)  # type: ignore[arg-type]
    folder = CheckpointFolder(LocalStore(tmp_path / "checkpoints"))
    with open_data(spec, config) as data:
        pretrain(
            config,
            data,
            World.alone(),
            checkpoints=folder,
            reporter=reporter,
            hits_of=hits_of(spec),
        )
    notes = first.trials._study.notes(sender.number)
    scores = first.trials._study.scores()[sender.number]
    assert scores.keys() == {1, 2}
    for epoch, value in scores.items():
        assert queries.marks(notes[f"{HITS}{epoch}"]).count("1") / NUM_QUERIES == value > 0.5

    again = coordinator_at(EvaluationPlan("task", 1))  # the first one was killed
    other, config = begun(again)
    weights = encoder_weights(build_network(config))
    nothing = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
    store = LocalStore(Path(spec.folder_uri))
    rung = write_rung(store, spec.rungs_folder(other.number), epoch=1, step=1, weights=nothing)
    assert again.trials.submit_rung(other, 1, 1, rung.key) == Answer.GO_ON
    deadline = time.monotonic() + 120
    while again.trials.should_stop(other) == Answer.GO_ON:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    notes = again.trials._study.notes(other.number)
    assert queries.marks(notes[f"{HITS}1"]) == "0" * NUM_QUERIES, "it tells no video from another"
    reason = again.trials._table.view(other.number).reason
    assert f"standard errors below trial {sender.number} at the bar, more than 1" in reason
