"""What every entry of `SAMPLERS` promises: values of the space, whatever trials did before."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import create_trial

from orchestrator.search.samplers import SAMPLERS, startup_trials
from orchestrator.search.space import Fit
from orchestrator.search.study import Proposal, SweepStudy
from prp_core.errors import UserError

RATES = "pretext.playback_rate.rates"
WEIGHT = "pretext.playback_rate.loss_weight"
HIGH = "pretext.slow_motion.attention.high"
WARMUP = "training.warmup_epochs"


def space(trial: Any) -> None:
    if trial.suggest_categorical(RATES, ["1-2", "1-2-4", "1-3-6"]) == "1-2":
        trial.suggest_float(HIGH, 1.0, 4.0)
    trial.suggest_float(WEIGHT, 0.01, 10.0, log=True)
    trial.suggest_int(WARMUP, 0, 10, step=5)


def check_legal(values: Mapping[str, Any]) -> None:
    assert values[RATES] in ("1-2", "1-2-4", "1-3-6")
    assert 0.01 <= values[WEIGHT] <= 10.0
    assert values[WARMUP] in (0, 5, 10) and type(values[WARMUP]) is int
    assert (HIGH in values) is (values[RATES] == "1-2")
    assert 1.0 <= values.get(HIGH, 1.0) <= 4.0


def anything(values: Mapping[str, Any]) -> Fit:
    return Fit(True, "")


def study_of(name: str, url: str | None = None, seed: int = 1) -> SweepStudy:
    return SweepStudy(url, "sweep", space, seed=seed, num_startup_trials=4, sampler=name)


def end(study: SweepStudy, proposal: Proposal, place: int) -> None:
    """Finish, prune, fail, or leave running, in turns."""
    kind = place % 4
    if kind < 2:
        study.report(proposal.number, 1, proposal.values[WEIGHT] / 10)
    if kind == 0:
        study.tell_finished(proposal.number, proposal.values[WEIGHT] / 10)
    elif kind == 1:
        study.tell_pruned(proposal.number, "below the bar")
    elif kind == 2:
        study.tell_failed(proposal.number, "the loss is not a number")


@pytest.mark.parametrize("name", SAMPLERS)
def test_values_are_of_the_space_whatever_became_of_earlier_trials(name: str) -> None:
    study = study_of(name)
    proposals = []
    for place in range(16):
        proposals.append(study.ask(anything))
        end(study, proposals[-1], place)
    for proposal in proposals:
        check_legal(proposal.values)
    assert len({tuple(sorted(one.values.items())) for one in proposals}) == 16, "none twice"


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_same_seed_draws_the_same(name: str) -> None:
    def drawn(seed: int) -> list[dict[str, Any]]:
        study = study_of(name, seed=seed)
        proposals = []
        for place in range(10):
            proposals.append(study.ask(anything))
            end(study, proposals[-1], place)
        return [one.values for one in proposals]

    assert drawn(1) == drawn(1) != drawn(2)


@pytest.mark.parametrize("name", SAMPLERS)
def test_what_does_not_fit_is_not_proposed(name: str) -> None:
    study = study_of(name)
    for place in range(12):
        proposal = study.ask(lambda values: Fit(values[RATES] != "1-2", "too few videos"))
        assert proposal.values[RATES] != "1-2"
        end(study, proposal, place)


@pytest.mark.parametrize("name", SAMPLERS)
def test_hints_and_trials_of_earlier_sweeps_are_taken_as_they_are(name: str) -> None:
    study = study_of(name)
    hint = {RATES: "1-2", HIGH: 2.5, WEIGHT: 0.125, WARMUP: 5}
    study._study.enqueue_trial(hint)
    first = study.ask(anything)
    assert first.values == hint
    end(study, first, 0)
    frozen = study.trials()[0]
    study._study.add_trial(
        create_trial(
            value=0.5,
            params={**frozen.params, WEIGHT: 0.25},
            distributions=frozen.distributions,
            intermediate_values={1: 0.5},
            user_attrs={"warm": "earlier sweep, trial 3"},
        )
    )
    for place in range(8):
        proposal = study.ask(anything)
        check_legal(proposal.values)
        end(study, proposal, place)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_trial_whose_driver_died_between_two_draws_keeps_what_was_drawn(
    name: str, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'trials.db'}"
    study = study_of(name, url)
    for place in range(6):
        end(study, study.ask(anything), place % 3)
    half_drawn = study._study.ask()
    study._proposed.values = {RATES: "1-3-6"}
    half_drawn.suggest_categorical(RATES, ["1-2", "1-2-4", "1-3-6"])
    adopted = study_of(name, url).ask(anything)
    assert (adopted.number, adopted.values[RATES]) == (half_drawn.number, "1-3-6")
    check_legal(adopted.values)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_design_has_four_to_sixteen_trials_or_what_was_asked_for(name: str) -> None:
    assert startup_trials(0, name, 1) == 4 and startup_trials(0, name, 1000) == 16
    assert startup_trials(7, name, 1000) == 7


def test_an_unknown_name_is_answered_with_the_choices() -> None:
    with pytest.raises(UserError, match="Unknown sweep.sampler 'gpp'.*Did you mean 'gp'"):
        startup_trials(0, "gpp", 10)
