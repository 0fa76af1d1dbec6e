"""A coordinator that is started again within its driver: trials that run are heard as before.

The coordinators are made in this process, one after the other over the same sqlite database, ledger
and MLflow, as Ray makes them after a kill -9.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from orchestrator.confirmation import ConfirmedRun
from orchestrator.coordinator.coordinator import Coordinator, end_when_fenced
from orchestrator.coordinator.sweep_state import CoordinatorSetup
from orchestrator.cost.budget import Admission, Gate
from orchestrator.journal.journal_writer import Fenced, JournalWriter
from orchestrator.journal.object_journal import JournalReader
from orchestrator.journal.requests import Action, Request, submit
from orchestrator.journal.stored_sweep import open_folder
from orchestrator.journal.sweep_folder import JOURNAL, RECORDS
from orchestrator.search.space import TrialLimits
from orchestrator.sweep.rounds import run_rounds
from orchestrator.tracking.reading import read_sweep_runs
from orchestrator.tracking.tags import KEY_TAG, PROTOCOL_TAG
from orchestrator.trial.messages import Answer, ConfirmAttempt, Failure, Sender, TrialOutcome
from orchestrator.trial_state import TrialState
from prp_core.training.checkpoint import CheckpointFolder
from prp_core.world import World
from tests.integration.test_sweep_account import METRIC, space, spec_at

FINISHED = TrialOutcome(TrialState.FINISHED, "", {METRIC: 0.5})


@pytest.fixture(autouse=True)
def mlflow_database(tmp_path: Path, empty_mlflow_database: Path) -> None:
    """A copy of a database that has MLflow's tables, which take seconds to make."""
    shutil.copy(empty_mlflow_database, tmp_path / "mlflow.db")


def setup_at(folder: Path) -> CoordinatorSetup:
    """What one driver hands to each start of its coordinator."""
    return CoordinatorSetup(spec=spec_at(folder), space=space, limits=TrialLimits((60,) * 20))


def begun(coordinator: Coordinator, slot: str) -> Sender:
    """The first attempt at the trial of `slot`, whose workers have started."""
    task = coordinator.trials.ask(slot)
    sender = coordinator.trials.begin_attempt(task.sender, 0).sender
    assert sender is not None
    assert coordinator.trials.workers_started(sender) == Answer.GO_ON
    return sender


def num_entries_at(setup: CoordinatorSetup) -> int:
    """How many appends the sweep's journal has had."""
    return JournalReader(open_folder(setup.spec).store, JOURNAL).num_entries


def runs_at(folder: Path, condition: str = "") -> list[Run]:
    """The runs in MLflow that meet `condition`."""
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny")
    return list(client.search_runs([experiment.experiment_id], condition))


def statuses(folder: Path) -> dict[str, str]:
    """MLflow's status of each trial's run, by the trial's number."""
    return {
        run.data.tags["prp.trial"]: run.info.status
        for run in runs_at(folder)
        if "prp.trial" in run.data.tags
    }


def test_nothing_is_adopted_and_everything_is_heard(tmp_path: Path) -> None:
    setup = setup_at(tmp_path)
    first = Coordinator(setup)
    one, other = begun(first, "slot-1"), begun(first, "slot-2")
    num_entries = num_entries_at(setup)
    assert first.trials.at_rung(one, 1, 10, {METRIC: 0.6}) == Answer.GO_ON
    assert num_entries_at(setup) == num_entries + 1, "a rung is one request to the storage"
    num_left = first.trials.num_left()
    first.recorder.flush()

    again = Coordinator(setup)
    assert (again.trials.num_left(), again.trials.num_to_start()) == (num_left, num_left - 2)
    assert set(statuses(tmp_path).values()) == {"RUNNING"}, "no living trial's run is closed"
    assert again.trials.ask("slot-2").number == other.number, "the answer was lost"
    assert again.trials.at_rung(one, 1, 10, {METRIC: 0.6}) == Answer.GO_ON, "and again"
    assert again.trials.at_rung(other, 1, 10, {METRIC: 0.1}) == Answer.STOP
    assert again.trials.tell(other, TrialOutcome(TrialState.PRUNED)) == Answer.GO_ON
    assert again.trials.tell(one, FINISHED) == Answer.GO_ON

    again.recorder.flush()
    last = Coordinator(setup)
    assert last.trials.tell(one, FINISHED) == Answer.GO_ON, "told twice"
    assert last.trials.num_left() == num_left - 2
    assert [view.state for view in last.screen.views()] == [TrialState.FINISHED, TrialState.PRUNED]
    last.recorder.close("finished")
    assert set(statuses(tmp_path).values()) == {"FINISHED"}


def test_a_coordinator_that_dies_before_the_records_of_an_end_writes_them_when_told_again(
    tmp_path: Path,
) -> None:
    setup = setup_at(tmp_path)
    first = Coordinator(setup)
    sender = begun(first, "slot-1")
    first.trials.at_rung(sender, 4, 40, {METRIC: 0.5})
    first.recorder.flush()
    first.trials._study.tell_finished(sender.number, 0.5)  # and then it is killed

    again = Coordinator(setup)
    assert again.trials.tell(sender, FINISHED) == Answer.GO_ON
    again.recorder.flush()
    assert statuses(tmp_path) == {"0": "FINISHED"}


def test_a_coordinator_whose_records_another_process_has_opened_ends_and_the_next_one_has_them(
    tmp_path: Path,
) -> None:
    setup = setup_at(tmp_path)
    first = Coordinator(setup)
    sender = begun(first, "slot-1")
    first.recorder.flush()
    store = open_folder(setup.spec).store
    publisher = JournalWriter(store, RECORDS, epoch=setup.spec.epoch, holder="who publishes")
    first.trials.log(sender, {"train/loss": 2.0}, 5)
    begun(first, "slot-2")
    ended = []
    end_when_fenced(first.recorder, lambda: ended.append(first.recorder.fenced))
    assert len(ended) == 1 and "was opened by who publishes" in ended[0]

    again = Coordinator(setup)
    again.trials.log_again(sender, [(5, {"train/loss": 2.0})])  # its worker has it still
    again.trials.at_rung(sender, 4, 40, {METRIC: 0.5})
    again.trials.tell(sender, FINISHED)
    again.recorder.flush()
    assert statuses(tmp_path) == {"0": "FINISHED", "1": "RUNNING"} and not again.recorder.fenced
    (run,) = runs_at(tmp_path, "tags.`prp.trial` = '1'")
    assert json.loads(run.data.tags["prp.sampled"]) and run.data.params["seed"], (
        "its start is recorded again, which the first one had in memory alone"
    )
    with pytest.raises(Fenced):
        publisher.append([{"kind": "record", "what": "nothing"}])


def test_an_outdated_attempt_is_told_to_leave_and_changes_nothing(tmp_path: Path) -> None:
    setup = setup_at(tmp_path)
    coordinator = Coordinator(setup)
    trials = coordinator.trials
    old = begun(coordinator, "slot-1")
    trials.driver_died("slot-1")
    new = begun(coordinator, "slot-2")
    assert new.number == old.number
    before = trials._study.trials()[old.number]
    view = coordinator.screen.views()[0]
    seen = (view.state, view.step, dict(view.metrics))
    answers = [
        trials.workers_started(old),
        trials.log(old, {"train/loss": 1.0}, 5),
        trials.at_rung(old, 1, 10, {METRIC: 0.9}),
        trials.submit_rung(old, 1, 10, "key"),
        trials.should_stop(old),
        trials.final_outcome(old),
        trials.tell(old, TrialOutcome(TrialState.FAILED, "a zombie's")),
    ]
    assert answers == [Answer.LEAVE] * 7
    assert trials.begin_attempt(old, 0).sender is None
    after = trials._study.trials()[old.number]
    assert (after.state, after.user_attrs, after.intermediate_values) == (
        before.state,
        before.user_attrs,
        before.intermediate_values,
    )
    assert (view.state, view.step, dict(view.metrics)) == seen
    assert trials.at_rung(new, 1, 10, {METRIC: 0.5}) == Answer.GO_ON


def with_an_ended_trial(setup: CoordinatorSetup) -> Coordinator:
    """A coordinator whose first trial trained for 4 epochs and finished."""
    coordinator = Coordinator(setup)
    sender = begun(coordinator, "slot-1")
    coordinator.trials.at_rung(sender, 4, 40, {METRIC: 0.5})
    coordinator.trials.tell(sender, FINISHED)
    return coordinator


def test_a_confirming_run_is_heard_by_the_coordinator_that_comes_after_and_its_newest_attempt_alone(
    tmp_path: Path,
) -> None:
    setup = setup_at(tmp_path)
    first = with_an_ended_trial(setup)
    task = first.confirming.start(0, 633)
    old = first.confirming.begin_attempt(task.sender, 0).sender
    assert old is not None
    first.recorder.flush()

    again = Coordinator(setup).confirming
    assert again.attempt_failed(old, Failure("its worker died")) == Answer.GO_ON
    new = again.begin_attempt(old, 0).sender
    assert new is not None and new.attempt == old.attempt + 1
    result = ConfirmedRun(trial=0, seed=633, recall_at_1=0.5, hits="0101")
    answers = [
        again.workers_started(old),
        again.log(old, {"train/loss": 9.0}, 5),
        again.log_again(old, [(5, {"train/loss": 9.0})]),
        again.attempt_failed(old, Failure("a zombie's")),
        again.end(old, None, "a zombie's"),
        again.end(dataclasses.replace(new, epoch=new.epoch + 1), result),
    ]
    assert answers == [Answer.LEAVE] * 6 and again.results() == ([], {})
    assert again.begin_attempt(dataclasses.replace(old, epoch=0), 0) == ConfirmAttempt(None)
    again.log(new, {"train/loss": 2.0}, 5)
    assert again.end(new, result) == Answer.GO_ON
    assert again.begin_attempt(new, 0) == ConfirmAttempt(None), "it has ended"
    again._recorder.flush()
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny")
    (run,) = client.search_runs([experiment.experiment_id], "tags.`prp.confirm_of` = '0'")
    assert (run.info.status, run.data.metrics["train/loss"]) == ("FINISHED", 2.0)
    last = Coordinator(setup).confirming
    runs, failed = last.results()
    assert ([(one.trial, one.seed) for one in runs], failed) == ([(0, 633)], {})

    sender = last.start(0, 634).sender
    for number in range(1, 5):
        attempt = last.begin_attempt(sender, 10)
        assert attempt.sender is not None
        sender = attempt.sender
        last.attempt_failed(sender, Failure(f"cause {number}", is_nodes=number == 1))
    last.attempt_failed(sender, Failure("cause 4 again"))
    assert last.begin_attempt(sender, 20).sender is not None, "there is a new checkpoint"
    for _ in range(setup_failures(setup)):
        attempt = last.begin_attempt(sender, 20)
        assert attempt.sender is not None
        sender = attempt.sender
        last.attempt_failed(sender, Failure("no step"))
    assert last.begin_attempt(sender, 20).failure == (
        "4 failures in a row without a new checkpoint; the last one: no step"
    )


def setup_failures(setup: CoordinatorSetup) -> int:
    """How many failures in a row a run of the sweep may have."""
    return int(setup.spec.config["resources"]["max_failures"])


def test_trials_that_end_are_rounds_and_what_no_round_ends_is_missing(tmp_path: Path) -> None:
    setup = setup_at(tmp_path)
    coordinator = Coordinator(setup)
    trials = coordinator.trials
    num_trials = trials.num_left()
    rounds: list[int] = []

    def run_round(num_ended: int) -> None:
        """As Ray Tune: the drivers of the other trials die."""
        rounds.append(num_ended)
        for place in range(trials.num_left()):
            sender = begun(coordinator, f"slot-{len(rounds)}-{place}")
            if place < num_ended:
                trials.at_rung(sender, 4, 40, {METRIC: 0.5})
                trials.tell(sender, FINISHED)

    left = run_rounds(Counts(coordinator), lambda: run_round(int(not rounds)))
    assert left == (num_trials - 1, Gate(Admission.START)), "missing for no reason that is known"
    assert rounds == [1, 0], "tried once more"

    coordinator = Coordinator(setup)
    trials = coordinator.trials
    assert run_rounds(Counts(coordinator), lambda: run_round(num_trials))[0] == 0
    assert rounds == [1, 0, num_trials]


class Counts:
    """The `TrialCounts` of a coordinator in this process."""

    def __init__(self, coordinator: Coordinator) -> None:
        self.num_over = coordinator.trials.num_over
        self.gate = coordinator.trials.gate
        self.release_all = coordinator.trials.release_all
        self.close_trials = coordinator.steering.close_trials


def test_an_extension_is_run_beyond_the_trials_of_the_sweep_and_its_run_says_of_which(
    tmp_path: Path,
) -> None:
    setup = setup_at(tmp_path)
    first = with_an_ended_trial(setup)
    store = open_folder(setup.spec).store
    folder = CheckpointFolder(store, setup.spec.checkpoints_folder(0))
    folder.save(40, {"common.pt": b""}, facts={"num_epochs": 4}, world=World.alone())
    num_left = first.trials.num_left()
    submit(store, Request(Action.EXTEND, trial=0, epochs=9))
    first.steering.take_up()
    assert first.trials.num_left() == num_left + 1
    task = first.trials.ask("slot-2")
    assert (task.number, task.continues, task.is_resumed) == (1, 0, False)
    assert task.config["training"]["num_epochs"] == 9
    assert first.trials.begin_attempt(task.sender, 0).sender is not None
    first.recorder.flush()  # it lives on beside the next one, and both would create the run

    again = Coordinator(setup)
    assert again.trials.ask("slot-2").continues == 0, "also to a slot that asks again"
    sender = again.trials.begin_attempt(task.sender, 0).sender
    assert sender is not None
    assert again.trials.at_rung(sender, 4, 40, {METRIC: 0.5}) == Answer.GO_ON
    assert again.trials.at_rung(sender, 9, 90, {METRIC: 0.1}) == Answer.GO_ON
    again.trials.tell(sender, TrialOutcome(TrialState.FINISHED, "", {METRIC: 0.1}))
    assert again.trials.num_left() == num_left
    again.recorder.flush()
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny")
    (run,) = client.search_runs([experiment.experiment_id], "tags.`prp.continues` = '0'")
    assert (run.info.status, run.data.tags["prp.trial"]) == ("FINISHED", "1")
    assert run.data.params["training.num_epochs"] == "9"


def test_sweeps_of_one_name_in_two_storages_have_their_own_runs_in_one_experiment(
    tmp_path: Path,
) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    parents = {}
    for key in ("here", "there"):
        spec = dataclasses.replace(
            spec_at(tmp_path / key), tracking_uri=uri, tags={KEY_TAG: key, PROTOCOL_TAG: key}
        )
        setup = CoordinatorSetup(spec=spec, space=space, limits=TrialLimits((60,) * 20))
        coordinator = Coordinator(setup)
        begun(coordinator, "slot-1")
        assert coordinator.recorder.flush()
        parents[key] = coordinator.recorder.sweep_run_id()
    assert len(set(parents.values())) == 2
    for key, run_id in parents.items():
        found = read_sweep_runs(uri, "tiny", "sweep", key)
        assert found.parent is not None and found.parent.run_id == run_id
        assert [run.tags[PROTOCOL_TAG] for run in found.trials.values()] == [key]
