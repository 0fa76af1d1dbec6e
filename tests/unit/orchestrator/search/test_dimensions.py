"""Shared dimensions: legal rate sets and upsampling factors, their names in config and database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.config.run_config import RunConfig
from orchestrator.search.dimensions import (
    config_values,
    legal_upsamplings,
    rate_sets,
    suggest_generated_rate_set,
    suggest_rate_set,
    suggest_upsampling,
)
from orchestrator.search.space import Fit, apply_space
from orchestrator.search.study import SweepStudy
from prp_core.errors import UserError
from tests.study_databases import study_database


@pytest.mark.parametrize(
    ("size", "largest", "powers", "sets"),
    [
        (2, 4, True, ["1-2", "1-4", "2-4"]),
        (4, 8, True, ["1-2-4-8"]),
        (3, 4, False, ["1-2-3", "1-2-4", "1-3-4", "2-3-4"]),
        (4, 4, True, []),
    ],
)
def test_every_set_of_a_size(size: int, largest: int, powers: bool, sets: list[str]) -> None:
    assert rate_sets(size, largest, powers=powers) == sets


@pytest.mark.parametrize(
    ("rates", "candidates", "legal"),
    [
        ("1-2-4-8", (1, 2, 4), [1, 2, 4]),
        ("1-3", (1, 2, 3), [1, 3]),  # 2 would supervise nothing but the input's own frames
        ("1-2", (2, 3, 4), [2, 4]),  # gcd(4, 2) = 2: every second target frame is a native one
        ("1-3", (2, 4), []),
    ],
)
def test_a_reconstruction_rate_needs_something_to_reconstruct(
    rates: str, candidates: tuple[int, ...], legal: list[int]
) -> None:
    assert legal_upsamplings(rates, candidates) == legal


def generated(trial: Any) -> None:
    rates = suggest_generated_rate_set(trial, sizes=(2, 3, 4), largest=8)
    suggest_upsampling(trial, rates)


def test_a_generated_space_survives_the_database_and_a_new_driver(tmp_path: Path) -> None:
    url = study_database(tmp_path)
    seen, kinds = set(), set()
    for _ in range(3):  # a driver each: Optuna would refuse a name whose choices changed
        study = SweepStudy(url, "sweep", generated, seed=1, num_startup_trials=6)
        for _ in range(6):
            proposal = study.ask(lambda values: Fit(True, ""))
            config = apply_space(RunConfig(), proposal.values)
            assert set(proposal.values) == {
                "pretext.playback_rate.rates",
                "pretext.slow_motion.upsampling",
            }
            assert config.pretext.slow_motion.upsampling in legal_upsamplings(
                config.pretext.playback_rate.rates, (1, 2, 4)
            )
            seen.add(config.pretext.playback_rate.rates)
            kinds.add(
                (proposal.sampled["@rates.powers"], len(config.pretext.playback_rate.rate_list))
            )
            study.report(proposal.number, 1, len(seen) / 100)
            study.tell_finished(proposal.number, len(seen) / 100)
    assert len(seen) >= 10
    assert {kind for kind, _ in kinds} == {True, False} and {size for _, size in kinds} == {2, 3, 4}


def test_names_of_branches_become_paths_and_own_choices_stay_behind() -> None:
    assert config_values({"clip.length@short": 8, "@kind": "x", "seed": 3}) == {
        "clip.length": 8,
        "seed": 3,
    }


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda trial: suggest_rate_set(trial, ["1-2", "4-2"]),
            "candidates = '4-2': rates are distinct and ascending",
        ),
        (
            lambda trial: suggest_generated_rate_set(trial, sizes=(5,), largest=8, powers=True),
            "no set holds so many powers of two up to 8",
        ),
        (
            lambda trial: suggest_upsampling(trial, "1-3", (2,)),
            "none supervises a frame in between at any rate of 1-3",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(call: Any, text: str) -> None:
    with pytest.raises(UserError) as caught:
        SweepStudy(None, "sweep", call, seed=1, num_startup_trials=1).ask(
            lambda values: Fit(True, "")
        )
    assert text in str(caught.value)
