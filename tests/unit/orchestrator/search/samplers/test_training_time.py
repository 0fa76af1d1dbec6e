"""The model of training time, and how the sampler weighs gains by it."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from orchestrator.search.samplers.gaussian_process import gain_for_time
from orchestrator.search.samplers.surrogate import Point
from orchestrator.search.samplers.training_time import relative_times
from orchestrator.search.space import Fit
from orchestrator.search.study import SweepStudy


def clips(length: int, weight: float = 0.5) -> Point:
    return {"clip.length": frozenset([repr(length)]), "weight": weight}


def test_values_that_train_longer_are_told_from_those_that_do_not() -> None:
    tried = [clips(8, 0.1), clips(16, 0.4), clips(8, 0.9), clips(16, 0.6)]
    short, long = relative_times(
        tried, {0: 50.0, 1: 105.0, 2: 52.0, 3: 98.0}, [clips(8, 0.5), clips(16, 0.9)]
    )
    assert long / short == pytest.approx(2.0, rel=0.15)
    assert short < 1 < long


def test_without_times_all_are_alike_and_one_says_nothing_of_others() -> None:
    assert relative_times([clips(8)], {}, [clips(8), clips(16)]).tolist() == [1.0, 1.0]
    assert relative_times([clips(8), clips(16)], {1: 70.0}, [clips(8), clips(16)]).tolist() == [
        1.0,
        1.0,
    ]


def test_a_gain_is_divided_by_its_time_and_a_loss_counts_for_as_long() -> None:
    gains, times = np.array([0.2, 0.3, -0.1, -0.1]), np.array([1.0, 2.0, 1.0, 2.0])
    assert gain_for_time(gains, times).tolist() == pytest.approx([0.2, 0.15, -0.1, -0.2])


def space(trial: Any) -> None:
    trial.suggest_categorical("clip.length", [8, 16])
    trial.suggest_float("pretext.playback_rate.loss_weight", 0.0, 1.0)


def num_long_clips(seed: int, *, seconds: float, gain: float) -> int:
    """Of 20 trials after the design: those with clips of 16 frames, which train `seconds` instead
    of 10 and score `gain` more, luck aside.
    """
    study, draw = (
        SweepStudy(None, "sweep", space, seed=seed, num_startup_trials=4),
        random.Random(seed),
    )
    lengths = []
    for _ in range(24):
        proposal = study.ask(lambda values: Fit(True, ""))
        lengths.append(proposal.values["clip.length"])
        is_long = lengths[-1] == 16
        study.set_training_seconds(proposal.number, seconds if is_long else 10.0)
        score = 0.3 + draw.gauss(gain if is_long else 0.0, 0.05)
        study.report(proposal.number, 1, score)
        study.tell_finished(proposal.number, score)
    return lengths[4:].count(16)


def test_of_values_that_are_worth_the_same_those_that_train_faster_are_tried() -> None:
    as_fast, slower = (
        sum(num_long_clips(seed, seconds=seconds, gain=0.0) for seed in range(6))
        for seconds in (10.0, 20.0)
    )
    assert slower < as_fast / 2, (slower, as_fast)


@pytest.mark.parametrize("seed", range(3))
def test_what_trains_longer_and_is_better_is_found_all_the_same(seed: int) -> None:
    assert num_long_clips(seed, seconds=20.0, gain=0.2) >= 14
