"""A study's own sampler: from `main`'s argument to the values of a trial, and through a resume."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from optuna.samplers import GridSampler

from orchestrator.coordinator.coordinator import Coordinator
from orchestrator.coordinator.trial_desk import TrialDesk
from orchestrator.search.samplers.sampler import Fits, History, Sampler
from orchestrator.sweep.driver import coordinator_setup
from orchestrator.sweep.plan import Plan
from prp_core.errors import UserError
from tests.kept_plan import kept_plan
from tests.tools.study_process import TINY_PRESET

RATES = "pretext.playback_rate.rates"
WEIGHT = "pretext.playback_rate.loss_weight"


def space(trial: Any) -> None:
    """A grid of six."""
    trial.suggest_categorical(RATES, ["1-2", "1-3", "2-3"])
    trial.suggest_float(WEIGHT, 0.5, 2.0)


class Counting(Sampler):
    """Of ours: the rate sets in their order, and always the same weight."""

    def propose(self, history: History, fits: Fits) -> Mapping[str, Any]:
        return {RATES: ["1-2", "1-3", "2-3"][len(history.counted) % 3], WEIGHT: 1.25}


@pytest.fixture
def words(tiny_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("PRP_HOME", str(tmp_path / "home"))
    cache = f"cache.dir={tmp_path / 'cache'}"
    return ["--preset", str(TINY_PRESET), "--data", str(tiny_videos), "--set", cache]


def plan_of(words: list[str], sampler: Any) -> Plan:
    return kept_plan(words, space, sampler=sampler)


def asked_values(trials: TrialDesk, count: int) -> list[tuple[str, float]]:
    """(rate set, weight) of the next `count` trials."""
    tasks = [trials.ask().config["pretext"]["playback_rate"] for _ in range(count)]
    return [(task["rates"], task["loss_weight"]) for task in tasks]


def test_a_given_sampler_proposes_the_trials_and_a_resume_needs_it_again(words: list[str]) -> None:
    plan = plan_of(words, Counting())
    assert plan.config.sweep.sampler == "Counting", "MLflow shows what drew the values"
    setup = pickle.loads(pickle.dumps(coordinator_setup(plan)))  # noqa: S301
    trials = Coordinator(setup).trials
    assert asked_values(trials, 2) == [("1-2", 1.25), ("1-3", 1.25)]
    resume = ["--resume", plan.spec.sweep_id]
    assert isinstance(plan_of(resume, Counting()).sampler, Counting)
    with pytest.raises(UserError, match="Unknown sweep.sampler 'Counting'; known: gp, random, tpe"):
        plan_of(resume, None)


def test_a_sampler_of_optunas_is_handed_over_and_a_setting_goes_before_it(words: list[str]) -> None:
    grid = GridSampler({RATES: ["1-3", "2-3"], WEIGHT: [0.75]}, seed=1)
    plan = plan_of(words, grid)
    assert plan.config.sweep.sampler == "GridSampler"
    trials = Coordinator(coordinator_setup(plan)).trials
    assert sorted(asked_values(trials, 2)) == [("1-3", 0.75), ("2-3", 0.75)]
    plan = plan_of([*words, "--set", "sweep.sampler=random"], grid)
    assert plan.sampler is None and plan.config.sweep.sampler == "random"
