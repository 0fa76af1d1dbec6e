"""The state of a large sweep on disk: a study with ended and running trials, and a long ledger."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from orchestrator.config.run_config import RunConfig, load_config, to_tree
from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.coordinator.coordinator import Coordinator
from orchestrator.coordinator.sweep_state import CoordinatorSetup
from orchestrator.cost.ledger import LEDGER, LedgerEntry
from orchestrator.journal.stored_sweep import open_journal
from orchestrator.search.decided_trials import DECISION
from orchestrator.search.dimensions import config_values
from orchestrator.search.journal_backend import open_study_storage
from orchestrator.search.pruner import PruningDecision
from orchestrator.search.samplers.design import drawn_from
from orchestrator.search.samplers.sampler import TRAINING_SECONDS
from orchestrator.search.space import TrialLimits
from orchestrator.search.study import SweepStudy

SETTINGS = (
    "sweep.num_trials=100000",
    "sweep.evaluator=worker",
    "training.num_epochs=8",
    "training.first_rung_epochs=1",
    "training.reduction_factor=2",
    "budget.cpu_hours=1e9",
)
SLICE_SECONDS = 30.0


def space(trial: Any) -> None:
    """Six dimensions, one of them in a branch."""
    rate_sets = ["1-2", "1-4", "1-2-4", "1-3-6", "1-2-4-8", "2-4-8"]
    rates = trial.suggest_categorical("pretext.playback_rate.rates", rate_sets)
    trial.suggest_categorical("clip.length", [8, 16])
    trial.suggest_float("pretext.playback_rate.loss_weight", 0.01, 10.0, log=True)
    trial.suggest_float("training.learning_rate", 1e-4, 1e-1, log=True)
    trial.suggest_int("training.warmup_epochs", 0, 4)
    if rates == "1-2":
        trial.suggest_float("pretext.slow_motion.attention.high", 1.0, 4.0)


def make_sweep(
    folder: Path, *, num_trials: int, num_running: int, entries_per_trial: int
) -> CoordinatorSetup:
    """A sweep of which `num_trials` trials have ended and `num_running` were running."""
    config = load_config("demo", SETTINGS)
    spec = SweepSpec(
        sweep_id="large",
        config=to_tree(config),
        storage_uri=str(folder),
        tracking_uri=f"sqlite:///{folder / 'mlflow.db'}",
        data_uri=str(folder),
        manifest_uri="",
        tags={},
    )
    draw = random.Random(0)
    journal = open_journal(spec)
    study = SweepStudy(
        open_study_storage(journal), spec.sweep_id, space, seed=0, num_startup_trials=0
    )
    for number in range(num_trials):
        study._study.add_trial(_ended(number, draw, config))
    for _ in range(num_running):
        trial = drawn_from(space, draw)
        study._study.add_trial(
            optuna.trial.create_trial(
                state=TrialState.RUNNING,
                params=trial.params,
                distributions=trial.distributions,
                user_attrs={"values": json.dumps(config_values(trial.params))},
            )
        )
    for number in range(num_trials + num_running):
        entries = [_entry(number, place, entries_per_trial) for place in range(entries_per_trial)]
        journal.append([{"kind": LEDGER, "entry": dataclasses.asdict(one)} for one in entries])
    journal.close()
    return CoordinatorSetup(spec=spec, space=space, limits=TrialLimits((400,) * 100))


def _ended(number: int, draw: random.Random, config: RunConfig) -> optuna.trial.FrozenTrial:
    """A trial that was pruned at one of its rungs, or finished."""
    trial = drawn_from(space, draw)
    num_rungs = draw.choice([1, 1, 2, 3, 4])
    value = 0.3 + 0.1 * (trial.params["clip.length"] == 16) + draw.gauss(0, 0.05)
    rungs = config.training.rungs
    decisions = {
        f"{DECISION}{epoch}": json.dumps(
            dataclasses.asdict(PruningDecision(place + 1 < num_rungs, f"rung {epoch}: made up"))
        )
        for place, epoch in enumerate(rungs[:num_rungs])
    }
    is_finished = num_rungs == len(rungs)
    return optuna.trial.create_trial(
        state=TrialState.COMPLETE if is_finished else TrialState.PRUNED,
        value=value,
        params=trial.params,
        distributions=trial.distributions,
        intermediate_values={epoch: value - 0.1 / epoch for epoch in rungs[:num_rungs]},
        user_attrs={
            "values": json.dumps(config_values(trial.params)),
            "run_id": f"{number:032x}",
            "metrics": json.dumps({"retrieval/recall_at_1": value}),
            TRAINING_SECONDS: 100.0 * draw.uniform(1.0, 2.0),
            **decisions,
        },
    )


def _entry(number: int, place: int, entries_per_trial: int) -> LedgerEntry:
    """A slice of the training of trial `number`."""
    started = 1e9 + number * 10 + place * SLICE_SECONDS
    return LedgerEntry(
        trial=number,
        rung_epoch=1 if place < entries_per_trial / 2 else 2,
        attempt=1,
        started=started,
        ended=started + SLICE_SECONDS,
        gpus=0.0,
        cpus=2.0,
        busy_seconds=SLICE_SECONDS,
        data_wait_seconds=1.0,
    )


def open_coordinator(setup: CoordinatorSetup) -> Coordinator:
    """The coordinator of `setup`, in this process."""
    return Coordinator(setup)
