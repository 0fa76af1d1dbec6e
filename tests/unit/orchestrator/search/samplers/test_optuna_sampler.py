"""Optuna's samplers on a real study of ours: pruned trials, branches, resumes, unfit values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cmaes
import pytest
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    GridSampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from orchestrator.search.samplers import make_sampler, name_of
from orchestrator.search.samplers.optuna_sampler import OptunaSampler, completed
from orchestrator.search.space import Fit
from orchestrator.search.study import Proposal, SweepStudy
from prp_core.errors import UserError
from tests.study_databases import study_database

WEIGHT = "pretext.playback_rate.loss_weight"
RATE = "training.learning_rate"
LENGTH = "clip.length"


def gp() -> GPSampler:
    """With a narrower search for the best proposal than Optuna's: what is tested is the study."""
    sampler = GPSampler(seed=1, n_startup_trials=4)
    sampler._n_preliminary_samples = 256
    sampler._n_local_search = 2
    return sampler


OFFERED: dict[str, Callable[[], BaseSampler]] = {
    "cmaes": lambda: CmaEsSampler(seed=1, n_startup_trials=4, warn_independent_sampling=False),
    "gp": gp,
    "qmc": lambda: QMCSampler(seed=1, warn_independent_sampling=False),
    "tpe": lambda: TPESampler(seed=1, n_startup_trials=4),
    "random": lambda: RandomSampler(seed=1),
}
LEARNING = ("cmaes", "gp", "tpe")


def numbers(trial: Any) -> None:
    trial.suggest_float(WEIGHT, 0.0, 1.0)
    trial.suggest_float(RATE, 1e-4, 1e-1, log=True)


def branching(trial: Any) -> None:
    numbers(trial)
    if trial.suggest_categorical(LENGTH, [8, 16]) == 8:
        trial.suggest_float("pretext.slow_motion.attention.high", 1.0, 4.0)


def score(values: Mapping[str, Any]) -> float:
    return float(1.0 - (values[WEIGHT] - 0.7) ** 2)


def anything(values: Mapping[str, Any]) -> Fit:
    return Fit(True, "")


def study_with(
    sampler: BaseSampler, space: Callable[[Any], None] = numbers, folder: Path | None = None
) -> SweepStudy:
    url = study_database(folder) if folder else None
    return SweepStudy(url, "sweep", space, seed=0, num_startup_trials=4, sampler=sampler)


def prune(study: SweepStudy, proposal: Proposal) -> float:
    value = score(proposal.values)
    study.report(proposal.number, 1, value)
    study.tell_pruned(proposal.number, "below the bar")
    return value


def finish(study: SweepStudy, proposal: Proposal) -> float:
    value = score(proposal.values)
    study.report(proposal.number, 1, value)
    study.tell_finished(proposal.number, value)
    return value


@pytest.mark.parametrize("name", LEARNING)
@pytest.mark.parametrize("end", [finish, prune])
def test_it_learns_from_finished_and_from_pruned_trials(
    name: str, end: Callable[[SweepStudy, Proposal], float]
) -> None:
    study = study_with(OFFERED[name]())
    values = [end(study, study.ask(anything)) for _ in range(24)]
    assert sum(values[-8:]) / 8 > sum(values[:4]) / 4, values
    assert min(values[-4:]) > 0.9, values


@pytest.mark.parametrize("name", OFFERED)
def test_branches_and_every_end_of_a_trial(name: str) -> None:
    study = study_with(OFFERED[name](), branching)
    seen = set()
    for _ in range(6):
        for end in (finish, prune):
            end(study, study.ask(anything))
        proposal = study.ask(anything)
        study.tell_failed(proposal.number, "the loss is not a number")
        seen.add(proposal.values[LENGTH])
        assert ("pretext.slow_motion.attention.high" in proposal.values) is (
            proposal.values[LENGTH] == 8
        )
    states = [trial.state for trial in study.trials()]
    assert states.count(TrialState.FAIL) == states.count(TrialState.PRUNED) == 6
    assert seen == {8, 16}


@pytest.mark.parametrize("name", OFFERED)
def test_a_resumed_study_goes_on_and_draws_nothing_again(name: str, tmp_path: Path) -> None:
    study = study_with(OFFERED[name](), folder=tmp_path)
    before = [finish(study, study.ask(anything)) for _ in range(10)]
    running = study.ask(anything)
    study = study_with(OFFERED[name](), folder=tmp_path)
    again = study.ask(anything)
    assert (again.number, again.values, again.is_resumed) == (running.number, running.values, True)
    after = [finish(study, study.ask(anything)) for _ in range(10)]
    assert len(study.trials()) == 21, "no repeat had to be refused"
    assert not set(before) & set(after)


def test_cma_es_goes_on_with_the_optimiser_that_the_database_holds(tmp_path: Path) -> None:
    sampler = OFFERED["cmaes"]
    study = study_with(sampler(), folder=tmp_path)
    for _ in range(12):
        prune(study, study.ask(anything))
    study = study_with(sampler(), folder=tmp_path)
    for _ in range(6):
        prune(study, study.ask(anything))
    optimiser = CmaEsSampler(seed=2)._restore_optimizer(completed(study.trials()))
    assert isinstance(optimiser, cmaes.CMA)
    assert optimiser.generation >= 2, "pruned trials complete generations, in both processes"


def test_what_never_fits_is_learnt_to_be_bad() -> None:
    study = study_with(OFFERED["gp"]())

    def light(values: Mapping[str, Any]) -> Fit:
        return Fit(values[WEIGHT] < 0.5, "too heavy")

    for _ in range(12):
        finish(study, study.ask(light))
    unfit = ["unfit" in trial.user_attrs for trial in study.trials()]
    assert sum(unfit[-6:]) <= 2 and len(unfit) < 30, "the best places of the model do not fit"


def test_a_grid_that_is_used_up_ends_nothing() -> None:
    study = study_with(
        GridSampler({LENGTH: [8, 16]}), lambda trial: trial.suggest_categorical(LENGTH, [8, 16])
    )
    lengths = []
    for _ in range(3):
        proposal = study.ask(anything)
        lengths.append(proposal.values[LENGTH])
        study.tell_failed(proposal.number, "no score")
    assert set(lengths[:2]) == {8, 16}


class Remembering(RandomSampler):
    """Keeps what it is told of ended trials."""

    def __init__(self) -> None:
        super().__init__(seed=1)
        self.ended: list[tuple[int, str, list[float] | None]] = []

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:
        self.ended.append((trial.number, state.name, values))


def test_a_sampler_hears_of_each_end() -> None:
    sampler = Remembering()
    study = study_with(sampler)
    first, second, third = (study.ask(anything) for _ in range(3))
    value = finish(study, first)
    pruned = prune(study, second)
    study.tell_failed(third.number, "no score")
    assert sampler.ended == [
        (0, "COMPLETE", [value]),
        (1, "PRUNED", [pruned]),
        (2, "FAIL", None),
    ]


def test_what_a_sampler_is_shown_of_ended_trials() -> None:
    study = study_with(RandomSampler(seed=0))
    best, pruned, failed, running = (study.ask(anything) for _ in range(4))
    study.report(best.number, 3, 0.9)
    study.tell_finished(best.number, 0.9)
    study.report(pruned.number, 1, 0.2)
    study.report(pruned.number, 3, 0.4)
    study.tell_pruned(pruned.number, "below the bar")
    study.tell_failed(failed.number, "no score")
    shown = completed(study.trials())
    assert [(trial.state.name, trial.value) for trial in shown] == [
        ("COMPLETE", 0.9),
        ("COMPLETE", 0.4),
        ("COMPLETE", 0.4),
        ("RUNNING", None),
    ]
    assert [trial.state.name for trial in study.trials()][1:3] == ["PRUNED", "FAIL"]
    assert running.number == shown[-1].number


def test_a_space_that_is_no_function_of_its_draws_is_refused() -> None:
    calls = []

    def moody(trial: Any) -> None:
        calls.append(trial)
        trial.suggest_float(WEIGHT if len(calls) == 1 else RATE, 0.0, 1.0)

    study = SweepStudy(None, "sweep", moody, seed=0, num_startup_trials=4, sampler="random")
    with pytest.raises(UserError, match=f"suggests '{RATE}', for which its sampler proposed"):
        study.ask(anything)


def test_names_and_choices() -> None:
    assert name_of("gp") == "gp" and name_of(CmaEsSampler()) == "CmaEsSampler"
    assert isinstance(make_sampler(QMCSampler(), seed=1, num_startup=1), OptunaSampler)
    given = make_sampler("gp", seed=1, num_startup=1)
    assert make_sampler(given, seed=2, num_startup=2) is given
    with pytest.raises(UserError, match="Unknown sweep.sampler 'tpee'; known: gp, random, tpe"):
        make_sampler("tpee", seed=1, num_startup=1)
