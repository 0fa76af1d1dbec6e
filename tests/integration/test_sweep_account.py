"""Cost accounting in the coordinator: a real study and MLflow, a SIGKILL, an exhausted budget."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from cluster.prices import Price
from orchestrator.config.run_config import load_config, to_tree, with_values
from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.confirmation import ConfirmedRun
from orchestrator.coordinator.coordinator import Coordinator
from orchestrator.coordinator.sweep_state import CoordinatorSetup
from orchestrator.cost.account import TaskCost
from orchestrator.cost.ledger import LedgerEntry, read_ledger, total
from orchestrator.cost.meter import Held
from orchestrator.cost.pricing import find_price, money_line
from orchestrator.journal.object_journal import JournalReader
from orchestrator.ray_cluster.concurrency import EvaluationPlan
from orchestrator.search.space import TrialLimits
from orchestrator.tracking.run_names import run_of_tags
from orchestrator.trial.messages import Answer, TrialOutcome
from orchestrator.trial_state import TrialState
from prp_core.data.object_store import LocalStore
from prp_core.errors import UserError
from tests.e2e.tiny_study import space
from tests.tools.study_process import TINY_PRESET

PRICE = Price(0.0, 3.6, "made up")  # a tenth of a cent for a second of one CPU
METRIC = "retrieval/recall_at_1"


class Clock:
    """A time that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def mlflow_database(empty_mlflow_database: Path, tmp_path: Path) -> None:
    """MLflow's tables lie in the database already."""
    shutil.copy(empty_mlflow_database, tmp_path / "mlflow.db")


def spec_at(folder: Path, **values: Any) -> SweepSpec:
    """A sweep of the tiny preset in `folder`, with `values` put into its config."""
    config = with_values(load_config(str(TINY_PRESET)), values)
    return SweepSpec(
        sweep_id="sweep",
        config=to_tree(config),
        storage_uri=str(folder),
        tracking_uri=f"sqlite:///{folder / 'mlflow.db'}",
        data_uri=str(folder),
        manifest_uri="",
        tags={},
    )


def ledger_in(folder: Path) -> list[LedgerEntry]:
    """The ledger of the sweep in `folder`."""
    return read_ledger(JournalReader(LocalStore(folder / "sweeps" / "sweep")))


def coordinator_of(spec: SweepSpec, clock: Clock | None = None, **choices: Any) -> Coordinator:
    """The coordinator of `spec` in this process; its account reads `clock`."""
    limits = TrialLimits((60,) * 20)
    setup = CoordinatorSetup(spec=spec, space=space, limits=limits, price=PRICE, **choices)
    coordinator = Coordinator(setup)
    if clock is not None:
        coordinator.trials._account._clock = clock
    return coordinator


@pytest.fixture
def coordinator_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Coordinator, Clock]]:
    """Makes the sweep's coordinator, or the one after it, with a clock of its own."""

    def make(**values: Any) -> tuple[Coordinator, Clock]:
        clock = Clock()
        return coordinator_of(spec_at(tmp_path, **values), clock), clock

    return make


def train(
    coordinator: Coordinator, clock: Clock, seconds_per_epoch: float, value: float
) -> tuple[int, str]:
    """Run a trial as its workers would, to its end or to the rung at which it is told to leave;
    (number, state).
    """
    task = coordinator.trials.ask()
    number = task.number
    clock.now += 5
    coordinator.trials.workers_started(task.sender)
    last = 0
    for epoch in (1, 2, 4):
        clock.now += seconds_per_epoch * (epoch - last)
        coordinator.trials.log(task.sender, {"time/data_wait_share": 0.25}, epoch * 10)
        last = epoch
        answer = coordinator.trials.at_rung(task.sender, epoch, epoch * 10, {METRIC: value})
        if answer != Answer.GO_ON or epoch == 4:
            break
    state = TrialState.FINISHED if last == 4 else TrialState.PRUNED
    coordinator.trials.tell(task.sender, TrialOutcome(state, "", {METRIC: value}))
    return number, state


def test_the_evaluator_of_a_trial_stays_through_resumes(tmp_path: Path) -> None:
    """Its rungs may be submitted and not evaluated when the driver dies, and the next driver may
    find less room.
    """
    tasks, spec = EvaluationPlan("task", 1), spec_at(tmp_path)
    assert coordinator_of(spec, evaluation=tasks).trials.ask().evaluator == "task"
    with_less_room = coordinator_of(spec)
    asked = [with_less_room.trials.ask() for _ in range(2)]
    assert [(task.number, task.is_resumed, task.evaluator) for task in asked] == [
        (0, True, "task"),
        (1, False, "worker"),
    ]
    last = coordinator_of(spec, evaluation=tasks)
    assert [last.trials.ask().evaluator for _ in range(3)] == ["task", "worker", "task"]


def runs_by_name(folder: Path) -> dict[str, Any]:
    """Every MLflow run of the sweep by what it is."""
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny")
    return {
        run_of_tags(run.data.tags): run for run in client.search_runs([experiment.experiment_id])
    }


def test_what_a_trial_costs_is_in_the_ledger_in_its_run_and_in_the_parents(
    coordinator_at: Any, tmp_path: Path
) -> None:
    coordinator, clock = coordinator_at(**{"sweep.pruner": "none"})
    assert train(coordinator, clock, 10.0, 0.5) == (0, "finished")
    baseline = TaskCost(
        kind="baseline", trial=-1, started=2000.0, ended=2060.0, held=Held(0.0, 1.0)
    )
    coordinator.recorder.book_task(baseline)
    coordinator.recorder.book_task(baseline)
    entries = ledger_in(tmp_path)
    assert [
        (one.kind, one.rung_epoch, one.busy_seconds) for one in entries if one.busy_seconds
    ] == [
        ("train", 1, 10.0),
        ("train", 2, 10.0),
        ("train", 4, 20.0),
        ("baseline", 0, 60.0),
    ]
    assert total(entries).queued_seconds == 5.0
    assert total(entries).usd == pytest.approx(0.1)
    assert coordinator.screen.cost_line() == "cost 0.0278 CPU-hours, 0.1 USD"
    coordinator.recorder.close("finished")
    runs = runs_by_name(tmp_path)
    trial, parent = (runs[name].data.metrics for name in ("trial/0", "sweep"))
    counters = json.loads(runs["trial/0"].data.tags["prp.counters"])
    assert trial["cost/usd"] == pytest.approx(0.04)
    assert counters["waste/data_wait_seconds"] == pytest.approx(10.0)
    assert parent["cost/usd"] == pytest.approx(0.1) and parent["cost/cpu_hours"] == pytest.approx(
        100 / 3600
    )


def test_the_search_learns_how_long_a_trial_trains_without_what_was_not_its_values_doing(
    coordinator_at: Any,
) -> None:
    coordinator, clock = coordinator_at(**{"sweep.pruner": "none"})
    train(coordinator, clock, 10.0, 0.5)
    assert coordinator.trials._study.notes(0)["training_seconds"] == pytest.approx(30.0), (
        "4 epochs of 10 s, a quarter of each waiting for videos"
    )


def test_a_budget_keeps_its_reserve_prunes_at_a_rung_and_goes_on_when_it_is_raised(
    coordinator_at: Any, tmp_path: Path
) -> None:
    """A trial's way is 40 s, so one run's worth (40 s, baselines and fine-tuning) is kept of the
    140 s.
    """
    values = {"sweep.pruner": "none", "budget.cpu_hours": 140 / 3600}
    coordinator, clock = coordinator_at(**values)
    assert [train(coordinator, clock, 10.0, 0.5) for _ in range(2)] == [
        (0, "finished"),
        (1, "finished"),
    ]
    assert coordinator.trials.gate().admission == "start", (
        "80 spent, 40 kept, 10 for the first rung"
    )
    assert train(coordinator, clock, 10.0, 0.9) == (2, "pruned"), (
        "90 spent: the way to the second rung is not covered"
    )
    assert coordinator.trials.gate().admission == "stop"
    pruned = coordinator.screen.views()[2]
    assert "budget: 0.025 of 0.0388889 CPU-hours spent, 0.0111 kept for the end" in pruned.reason
    coordinator.recorder.close("finished")
    assert runs_by_name(tmp_path)["trial/2"].data.tags["prp.state"] == "pruned"
    again, clock = coordinator_at(**{**values, "budget.cpu_hours": 1.0})
    assert again.trials.gate().admission == "start"
    assert again.screen.cost_line().startswith("cost 0.025 of 1 CPU-hours"), "the account goes on"
    assert train(again, clock, 10.0, 0.5) == (3, "finished")
    again.recorder.close("finished")


def test_while_trials_run_a_new_one_waits_for_what_they_may_free(coordinator_at: Any) -> None:
    coordinator, clock = coordinator_at(**{"sweep.pruner": "none", "budget.cpu_hours": 100 / 3600})
    train(coordinator, clock, 10.0, 0.5)
    task = coordinator.trials.ask()
    coordinator.trials.workers_started(task.sender)
    assert coordinator.trials.gate().admission == "wait"
    coordinator.trials.tell(task.sender, TrialOutcome(TrialState.FAILED, "made to"))
    assert coordinator.trials.gate().admission == "start"


def _trial_and_death(spec: SweepSpec, ready: Any) -> None:
    clock = Clock()
    coordinator = coordinator_of(spec, clock)
    task = coordinator.trials.ask()
    coordinator.trials.workers_started(task.sender)
    for second in range(1, 46):
        clock.now += 1
        coordinator.trials.log(task.sender, {"train/loss": 1.0}, second)
    ready.set()
    signal.pause()


def test_a_coordinator_that_is_killed_with_9_counts_nothing_twice_and_loses_less_than_a_slice(
    tmp_path: Path,
) -> None:
    spec = spec_at(tmp_path)
    ready = multiprocessing.get_context("spawn").Event()
    process = multiprocessing.get_context("spawn").Process(
        target=_trial_and_death, args=(spec, ready)
    )
    process.start()
    assert ready.wait(200)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    clock = Clock()
    coordinator = coordinator_of(spec, clock)
    before = total(ledger_in(tmp_path)).busy_seconds
    assert before == 30.0, "of 45 s, to the last slice that was written"
    clock.now = 9000.0  # hours later
    task = coordinator.trials.ask()
    number = task.number
    clock.now += 5
    coordinator.trials.workers_started(task.sender)
    clock.now += 10
    coordinator.trials.at_rung(task.sender, 1, 60, {METRIC: 0.5})
    entries = ledger_in(tmp_path)
    assert (number, total(entries).busy_seconds, total(entries).queued_seconds) == (0, 40.0, 5.0)
    assert [one.attempt for one in entries if one.busy_seconds] == [1, 2]
    coordinator.recorder.close("killed")


def test_confirming_runs_are_no_trials_and_what_is_noted_stays(
    coordinator_at: Any, tmp_path: Path
) -> None:
    coordinator, clock = coordinator_at(**{"sweep.pruner": "none"})
    train(coordinator, clock, 10.0, 0.5)
    task = coordinator.confirming.start(0, 8)
    assert (
        task.config["seed"] == 8
        and task.config["training"]["first_rung_epochs"] == task.config["training"]["num_epochs"]
    )
    coordinator.confirming.workers_started(task.sender)
    clock.now += 30
    coordinator.confirming.log(task.sender, {METRIC: 0.25}, 10)
    found = ConfirmedRun(trial=0, seed=8, recall_at_1=0.25, hits="0100")
    coordinator.confirming.end(task.sender, found)
    coordinator.confirming.end(task.sender, None, "a second word")
    coordinator.confirming.start(0, 9)
    coordinator.recorder.close("killed", "interrupted")
    again, _ = coordinator_at(**{"sweep.pruner": "none"})
    assert again.confirming.results() == ([found], {})
    assert len(again.screen.views()) == 1 and again.trials.num_left() == 3, (
        "Optuna knows nothing of them"
    )
    other = again.confirming.start(0, 9)
    again.confirming.end(other.sender, None, "DivergedError: made to")
    assert again.confirming.results() == ([found], {(0, 9): "DivergedError: made to"})
    again.recorder.close("finished")
    runs = runs_by_name(tmp_path)
    confirming = runs["confirm/0/8"]
    assert confirming.data.tags["mlflow.parentRunId"] == runs["sweep"].info.run_id
    assert (confirming.data.tags["prp.confirm_of"], confirming.info.status) == ("0", "FINISHED")
    assert runs["confirm/0/9"].info.status == "FAILED"
    entries = ledger_in(tmp_path)
    assert total(entries, lambda one: one.kind == "confirm").busy_seconds == 30.0


def test_a_budget_in_dollars_needs_a_price_and_says_how_to_give_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = with_values(load_config(str(TINY_PRESET)), {"budget.usd": 5.0})
    monkeypatch.setenv("PRP_INSTANCE_TYPE", "x99.mega")
    with pytest.raises(
        UserError,
        match=r"--budget-usd 5 needs a price, and the machines are x99.mega on "
        r"demand.*--prices FILE",
    ):
        find_price(config)
    monkeypatch.setenv("PRP_INSTANCE_TYPE", "m6i.xlarge")
    price = find_price(config)
    assert price is not None and price.usd_per_cpu_hour == pytest.approx(0.048)
    assert money_line(config, price).startswith(
        "budget: 5 USD; $0.048 a CPU-hour: m6i.xlarge on demand"
    )
    mine = tmp_path / "mine.toml"
    mine.write_text(json.dumps("nothing"))
    with pytest.raises(UserError, match="is not readable"):
        find_price(with_values(config, {"budget.prices": str(mine)}))
    own = find_price(with_values(config, {"resources.usd_per_cpu_hour": 0.01}))
    assert own == Price(0.0, 0.01, "the config's own price")
