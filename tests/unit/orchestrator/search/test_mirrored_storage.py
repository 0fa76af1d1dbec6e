"""The mirror answers as the database would, without asking it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
from optuna.trial import TrialState, create_trial

from orchestrator.search.mirrored_storage import MirroredStorage
from tests.study_databases import study_storage


def write(storage: BaseStorage, study_id: int, draw: random.Random, running: list[int]) -> None:
    """One random write to a study."""
    kind = draw.randrange(7)
    if kind == 0 or not running:
        running.append(storage.create_new_trial(study_id))
    elif kind == 1:
        name, distribution, value = draw.choice(
            [
                ("length", CategoricalDistribution([8, 16]), 1.0),
                ("rates", CategoricalDistribution(["1-2", "1-4"]), 0.0),
                ("weight", FloatDistribution(0.01, 10.0, log=True), draw.uniform(0.01, 10.0)),
                ("epochs", IntDistribution(0, 10, step=5), 5.0),
            ]
        )
        trial_id = draw.choice(running)
        if name not in storage.get_trial(trial_id).params:
            storage.set_trial_param(trial_id, name, value, distribution)
    elif kind == 2:
        storage.set_trial_intermediate_value(draw.choice(running), draw.randrange(5), draw.random())
    elif kind == 3:
        storage.set_trial_user_attr(
            draw.choice(running), f"note {draw.randrange(3)}", draw.random()
        )
    elif kind == 4:
        storage.set_trial_system_attr(draw.choice(running), "state", [draw.random(), "a", None])
    elif kind == 5:
        storage.set_study_user_attr(study_id, f"note {draw.randrange(3)}", draw.random())
    else:
        trial_id = running.pop(draw.randrange(len(running)))
        state = draw.choice([TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL])
        storage.set_trial_state_values(trial_id, state, None if state == TrialState.FAIL else [0.1])


@pytest.mark.parametrize("seed", range(3))
def test_it_holds_what_another_process_reads_from_the_database(seed: int, tmp_path: Path) -> None:
    draw, running = random.Random(seed), list[int]()
    for _ in range(3):  # each time a new process
        mirror = MirroredStorage(study_storage(tmp_path))
        study = optuna.create_study(storage=mirror, study_name="sweep", load_if_exists=True)
        for _ in range(60):
            write(mirror, study._study_id, draw, running)
        database = optuna.load_study(study_name="sweep", storage=study_storage(tmp_path))
        assert study.get_trials() == database.get_trials()
        assert study.user_attrs == database.user_attrs
        for trial in database.get_trials():
            assert mirror.get_trial(trial._trial_id) == trial
            number = mirror.get_trial_id_from_study_id_trial_number(study._study_id, trial.number)
            assert number == trial._trial_id


def test_queued_and_added_trials_are_there_at_once(tmp_path: Path) -> None:
    storage = MirroredStorage(study_storage(tmp_path))
    study = optuna.create_study(storage=storage, direction="maximize")
    study.enqueue_trial({"weight": 0.25}, user_attrs={"hint": "earlier"})
    study.add_trial(
        create_trial(
            value=0.5,
            params={"weight": 0.5},
            distributions={"weight": FloatDistribution(0.0, 1.0)},
            intermediate_values={1: 0.5},
        )
    )
    trial = study.ask()
    assert trial.suggest_float("weight", 0.0, 1.0) == 0.25
    states = [one.state for one in study.get_trials()]
    assert states == [TrialState.RUNNING, TrialState.COMPLETE]
    study.tell(trial, 0.75)
    assert [one.value for one in study.get_trials()] == [0.75, 0.5]
    assert study.best_trial.number == 0


def test_what_was_handed_out_does_not_change() -> None:
    study = optuna.create_study(storage=MirroredStorage(InMemoryStorage()))
    trial = study.ask()
    before = study.get_trials(deepcopy=False)[0]
    trial.suggest_float("weight", 0.0, 1.0)
    trial.report(0.5, 1)
    trial.set_user_attr("note", "x")
    assert (before.params, before.intermediate_values, before.user_attrs) == ({}, {}, {})
    after = study.get_trials(deepcopy=False)[0]
    assert (len(after.params), after.intermediate_values, after.user_attrs) == (
        1,
        {1: 0.5},
        {"note": "x"},
    )


class Counting(RDBStorage):
    """A database that counts how often it is asked for trials."""

    num_reads = 0

    def get_all_trials(self, *arguments: Any, **named: Any) -> list[optuna.trial.FrozenTrial]:
        self.num_reads += 1
        return super().get_all_trials(*arguments, **named)


def test_a_study_is_read_once(tmp_path: Path) -> None:
    database = study_storage(tmp_path, Counting)
    study = optuna.create_study(
        storage=MirroredStorage(database), sampler=optuna.samplers.TPESampler(n_startup_trials=1)
    )
    for _ in range(6):
        trial = study.ask()
        trial.report(trial.suggest_float("weight", 0.0, 1.0), 1)
        study.tell(trial, state=TrialState.PRUNED)
        study.get_trials(deepcopy=False)
    assert database.num_reads == 1
