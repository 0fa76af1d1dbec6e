"""The design of the first trials covers the space, and the model takes over when it has something to learn from."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from orchestrator.search.sampler import is_design_due
from orchestrator.search.space import Fit
from orchestrator.search.study import SweepStudy

RATES = ["1-2", "1-4", "1-2-4", "1-3-6", "1-2-4-8", "2-4-8"]


def space(trial: Any) -> None:
    rates = trial.suggest_categorical("pretext.playback_rate.rates", RATES)
    trial.suggest_categorical("clip.length", [8, 16])
    trial.suggest_float("pretext.playback_rate.loss_weight", 0.01, 10.0, log=True)
    trial.suggest_int("training.warmup_epochs", 0, 10)
    if rates == "1-2":
        trial.suggest_float("pretext.slow_motion.attention.high", 1.0, 4.0)


def anything(values: Any) -> Fit:
    return Fit(True, "")


@pytest.mark.parametrize(
    ("asked", "judged", "startup", "due"), [(0, 0, 6, True), (5, 5, 6, True), (6, 2, 6, False), (9, 1, 6, True), (1, 1, 1, False), (0, 0, 0, False)]
)
def test_when_the_design_is_due(asked: int, judged: int, startup: int, due: bool) -> None:
    assert is_design_due(asked, judged, startup) is due


@pytest.mark.parametrize("seed", range(5))
def test_the_first_trials_cover_every_category_and_stretch(seed: int) -> None:
    study = SweepStudy(None, "sweep", space, seed=seed, num_startup_trials=6)
    trials = [study.ask(anything).values for _ in range(6)]
    assert sorted(values["pretext.playback_rate.rates"] for values in trials) == sorted(RATES)
    assert Counter(values["clip.length"] for values in trials) == {8: 3, 16: 3}
    weights = sorted(values["pretext.playback_rate.loss_weight"] for values in trials)
    assert all(10 ** (-2 + 0.5 * sixth) <= weight <= 10 ** (-1.5 + 0.5 * sixth) for sixth, weight in enumerate(weights)), weights
    assert all(isinstance(values["training.warmup_epochs"], int) and 0 <= values["training.warmup_epochs"] <= 10 for values in trials)


def test_the_design_depends_on_the_seed_alone() -> None:
    first, again, other = (SweepStudy(None, "sweep", space, seed=seed, num_startup_trials=6) for seed in (1, 1, 2))
    draws = [[study.ask(anything).values for _ in range(6)] for study in (first, again, other)]
    assert draws[0] == draws[1] != draws[2]


def test_the_model_goes_where_it_was_good() -> None:
    study = SweepStudy(None, "sweep", space, seed=3, num_startup_trials=6)
    drawn = []
    for _ in range(40):
        proposal = study.ask(anything)
        good = proposal.values["pretext.playback_rate.rates"] == "1-3-6"
        study.report(proposal.number, 1, 0.9 if good else 0.1)
        study.tell_finished(proposal.number, 0.9 if good else 0.1)
        drawn.append(good)
    assert sum(drawn[:6]) == 1
    assert sum(drawn[20:]) >= 10, "twice or more of what chance would draw in 20"


def test_trials_asked_at_once_spread() -> None:
    study = SweepStudy(None, "sweep", space, seed=3, num_startup_trials=6)
    for _ in range(6):
        proposal = study.ask(anything)
        study.report(proposal.number, 1, 0.5)
        study.tell_finished(proposal.number, 0.5)
    at_once = [study.ask(anything).values for _ in range(6)]
    assert len({(values["pretext.playback_rate.rates"], values["clip.length"]) for values in at_once}) >= 4
