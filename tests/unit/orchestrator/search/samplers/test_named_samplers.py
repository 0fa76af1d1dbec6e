"""The design of the first trials covers the space, and a model takes over when it has scores."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from orchestrator.search.dimensions import RATES as RATES_PATH
from orchestrator.search.samplers import startup_trials
from orchestrator.search.samplers.design import is_design_due
from orchestrator.search.samplers.gaussian_process import point_of
from orchestrator.search.space import Fit
from orchestrator.search.stand_in import StandIn
from orchestrator.search.study import SweepStudy
from tests.study_databases import study_database

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
    ("asked", "judged", "startup", "due"),
    [
        (0, 0, 6, True),
        (5, 5, 6, True),
        (6, 2, 6, False),
        (9, 1, 6, True),
        (1, 1, 1, False),
        (0, 0, 0, False),
    ],
)
def test_when_the_design_is_due(asked: int, judged: int, startup: int, due: bool) -> None:
    assert is_design_due(asked, judged, startup) is due


@pytest.mark.parametrize(
    ("asked", "sampler", "num_trials", "expected"),
    [
        (0, "gp", 8, 4),
        (0, "gp", 40, 5),
        (0, "gp", 500, 16),
        (0, "tpe", 8, 4),
        (0, "tpe", 40, 10),
        (0, "random", 40, 5),
        (7, "gp", 40, 7),
        (1, "tpe", 8, 1),
    ],
)
def test_how_many_trials_the_design_has(
    asked: int, sampler: str, num_trials: int, expected: int
) -> None:
    assert startup_trials(asked, sampler, num_trials) == expected


@pytest.mark.parametrize("seed", range(5))
def test_the_first_trials_cover_every_category_and_stretch(seed: int) -> None:
    study = SweepStudy(None, "sweep", space, seed=seed, num_startup_trials=6)
    trials = [study.ask(anything).values for _ in range(6)]
    assert sorted(values["pretext.playback_rate.rates"] for values in trials) == sorted(RATES)
    assert Counter(values["clip.length"] for values in trials) == {8: 3, 16: 3}
    weights = sorted(values["pretext.playback_rate.loss_weight"] for values in trials)
    assert all(
        10 ** (-2 + 0.5 * sixth) <= weight <= 10 ** (-1.5 + 0.5 * sixth)
        for sixth, weight in enumerate(weights)
    ), weights
    assert all(
        isinstance(values["training.warmup_epochs"], int)
        and 0 <= values["training.warmup_epochs"] <= 10
        for values in trials
    )


@pytest.mark.parametrize("sampler", ["gp", "tpe"])
def test_the_design_gives_up_on_what_never_fits(sampler: str) -> None:
    study = SweepStudy(None, "sweep", space, seed=0, num_startup_trials=8, sampler=sampler)
    drawn = Counter(
        study.ask(
            lambda values: Fit(values["pretext.playback_rate.rates"] != "1-2", "too few")
        ).values[RATES_PATH]
        for _ in range(8)
    )
    assert set(drawn) == set(RATES) - {"1-2"} and max(drawn.values()) == 2
    assert len(study.trials()) <= 11


def test_the_design_depends_on_the_seed_alone() -> None:
    first, again, other = (
        SweepStudy(None, "sweep", space, seed=seed, num_startup_trials=6) for seed in (1, 1, 2)
    )
    draws = [[study.ask(anything).values for _ in range(6)] for study in (first, again, other)]
    assert draws[0] == draws[1] != draws[2]


def finish(study: SweepStudy, number: int, score: float) -> None:
    study.report(number, 1, score)
    study.tell_finished(number, score)


@pytest.mark.parametrize(("sampler", "at_least"), [("gp", 15), ("tpe", 10)])
def test_the_model_goes_where_it_was_good(sampler: str, at_least: int) -> None:
    study = SweepStudy(None, "sweep", space, seed=3, num_startup_trials=6, sampler=sampler)
    drawn = []
    for _ in range(40):
        proposal = study.ask(anything)
        good = proposal.values["pretext.playback_rate.rates"] == "1-3-6"
        finish(study, proposal.number, 0.9 if good else 0.1)
        drawn.append(good)
    assert sum(drawn[:6]) == 1
    assert sum(drawn[20:]) >= at_least, "chance would draw 3.3 in 20"


def test_random_search_goes_nowhere() -> None:
    study = SweepStudy(None, "sweep", space, seed=3, num_startup_trials=6, sampler="random")
    drawn: Counter[str] = Counter()
    for _ in range(60):
        proposal = study.ask(anything)
        rates = proposal.values["pretext.playback_rate.rates"]
        finish(study, proposal.number, 0.9 if rates == "1-3-6" else 0.1)
        drawn[rates] += 1
    assert len(drawn) == 6 and max(drawn.values()) < 20, drawn


@pytest.mark.parametrize("sampler", ["gp", "tpe"])
def test_trials_asked_at_once_spread(sampler: str) -> None:
    study = SweepStudy(None, "sweep", space, seed=3, num_startup_trials=6, sampler=sampler)
    for _ in range(6):
        finish(study, study.ask(anything).number, 0.5)
    at_once = [study.ask(anything).values for _ in range(6)]
    assert (
        len({(values["pretext.playback_rate.rates"], values["clip.length"]) for values in at_once})
        >= 4
    )


def test_pruned_trials_teach_as_much_as_their_rungs_say() -> None:
    """Nobody of the rate set that does well at the first rung has finished, only one of the others:
    still the model goes there.
    """

    def many(trial: Any) -> None:
        trial.suggest_categorical("pretext.playback_rate.rates", RATES)
        trial.suggest_float("pretext.playback_rate.loss_weight", 0.01, 10.0, log=True)

    study = SweepStudy(None, "sweep", many, seed=0, num_startup_trials=12)
    for _ in range(12):
        proposal = study.ask(anything)
        rates = proposal.values["pretext.playback_rate.rates"]
        study.report(proposal.number, 1, 0.5 if rates == "1-3-6" else 0.2)
        if rates == "2-4-8":
            study.report(proposal.number, 4, 0.3)
            study.tell_finished(proposal.number, 0.3)
        else:
            study.tell_pruned(proposal.number, "stopped at its first rung")
    assert study.ask(anything).values["pretext.playback_rate.rates"] == "1-3-6"


def test_what_failed_is_not_tried_again_next_door() -> None:
    """High weights end in a loss that is not a number: they have no score at all, which must not
    look like a place nobody has been to.
    """
    study = SweepStudy(
        None,
        "sweep",
        lambda trial: trial.suggest_float("pretext.playback_rate.loss_weight", 0.0, 1.0),
        seed=0,
        num_startup_trials=4,
    )
    weights = []
    for _ in range(24):
        proposal = study.ask(anything)
        weights.append(proposal.values["pretext.playback_rate.loss_weight"])
        if weights[-1] > 0.5:
            study.tell_failed(proposal.number, "the loss is not a number")
        else:
            finish(study, proposal.number, 0.3 + 0.2 * weights[-1])
    assert sum(weight > 0.5 for weight in weights[12:]) <= 3, weights


def test_the_model_proposes_only_what_fits_and_is_new() -> None:
    def small(trial: Any) -> None:
        trial.suggest_categorical("pretext.playback_rate.rates", RATES)
        trial.suggest_categorical("clip.length", [8, 16])

    def short(values: Any) -> Fit:
        return Fit(values["clip.length"] == 8, "16 frames are too many")

    study = SweepStudy(None, "sweep", small, seed=1, num_startup_trials=2)
    proposals = [study.ask(short) for _ in range(2)]
    for proposal in proposals:
        finish(study, proposal.number, 0.4)
    num_before = len(study.trials())
    for _ in range(4):
        proposals.append(study.ask(short))
        finish(study, proposals[-1].number, 0.4)
    assert len(study.trials()) == num_before + 4, "nothing unfit was asked for on the way"
    assert sorted(one.values["pretext.playback_rate.rates"] for one in proposals) == sorted(RATES)


@pytest.mark.parametrize("sampler", ["gp", "random"])
def test_a_study_that_was_opened_again_goes_on_as_if_it_had_not(
    sampler: str, tmp_path: Path
) -> None:
    def trials(name: str, opened_again: bool) -> list[dict[str, Any]]:
        values = []
        for number in range(10):
            if opened_again or number == 0:
                study = SweepStudy(
                    study_database(tmp_path, f"{name}.db"),
                    "sweep",
                    space,
                    seed=5,
                    num_startup_trials=3,
                    sampler=sampler,
                )
            proposal = study.ask(anything)
            finish(study, proposal.number, len(proposal.values["pretext.playback_rate.rates"]) / 10)
            values.append(proposal.values)
        return values

    assert trials("once", opened_again=False) == trials("again", opened_again=True)


def test_what_the_model_sees_of_a_trial() -> None:
    trial = StandIn(
        lambda name, _: {
            "@rates.size.any": 2,
            f"{RATES_PATH}@any-2-to-8": "1-3",
            "clip.length@short": 8,
            "training.learning_rate": 1e-3,
        }[name]
    )
    trial.suggest_categorical("@rates.size.any", [2, 3])
    trial.suggest_categorical(f"{RATES_PATH}@any-2-to-8", ["1-3", "1-2"])
    trial.suggest_categorical("clip.length@short", [8, 16])
    trial.suggest_float("training.learning_rate", 1e-4, 1e-2, log=True)
    point = point_of(trial.params, trial.distributions)
    place = point.pop("training.learning_rate")  # type: ignore[attr-defined]
    assert place == pytest.approx(0.5)
    assert point == {RATES_PATH: frozenset(["1", "3"]), "clip.length": frozenset(["8"])}
