"""The ``gp`` sampler: the design, then Bayesian optimisation with an upper confidence bound.

A Gaussian process models all scores of all rungs (`surrogate.py`). Of many combinations that the
space draws, the sampler proposes the one whose upper bound (Srinivas et al., "Gaussian Process
Optimization in the Bandit Setting", ICML 2010) lies furthest above the best expected score of what
was tried, per second of training (`training_time.py`; Snoek, Larochelle, Adams, "Practical Bayesian
Optimization of Machine Learning Algorithms", NIPS 2012, section 3.2, divide by the time as well). A
trial that has no score yet counts as if it had what is expected of it, so that concurrent trials
spread (the kriging believer); one that failed, as the worst score.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState

from orchestrator.search.dimensions import RATES
from orchestrator.search.samplers.design import DesignSampler, least_drawn, place_of
from orchestrator.search.samplers.sampler import TRAINING_SECONDS, Fits, History, Sampler
from orchestrator.search.samplers.surrogate import Observation, Point, Surrogate
from orchestrator.search.samplers.training_time import relative_times
from orchestrator.search.stand_in import StandIn

NUM_CANDIDATES = 300
NUM_DEVIATIONS = 1.0  # of the upper bound above the expected score


class GaussianProcessSampler(Sampler):
    """The design for `num_startup` trials, then the candidate with the best upper bound.

    Draws depend on `seed`, the trial's number, and what the study holds.
    """

    def __init__(self, *, seed: int, num_startup: int) -> None:
        self._seed = seed
        self._design = DesignSampler(seed=seed, num_startup=num_startup)

    def propose(self, history: History, fits: Fits) -> Mapping[str, Any]:
        """The best candidate that fits and is new; the design's draw where there is none."""
        if self._design.is_due(history):
            return self._design.propose(history, fits)
        draw = random.Random(f"{self._seed} {history.number}")
        candidates = [
            history.drawn(lambda _, distribution: least_drawn(distribution, [], 1, draw))
            for _ in range(NUM_CANDIDATES)
        ]
        counted = history.counted
        tried = {_frozen(one.params) for one in counted}
        new = {
            _frozen(candidate.params): candidate
            for candidate in candidates
            if _frozen(candidate.params) not in tried
        }
        for candidate in ranked(list(new.values()), counted):
            if fits(candidate.params).ok:
                return candidate.params
        return self._design.propose(history, fits)


def ranked(candidates: Sequence[StandIn], trials: Sequence[FrozenTrial]) -> list[StandIn]:
    """`candidates` by expected gain per second, the best first, by a model of `trials`.

    As they come where no trial has a score.
    """
    if not candidates or not any(one.intermediate_values for one in trials):
        return list(candidates)
    points = [point_of(one.params, one.distributions) for one in trials]
    observations = _observations(trials)
    first = min(one.epoch for one in observations)
    last = max(one.epoch for one in observations)
    silent = [
        place
        for place, one in enumerate(trials)
        if one.state == TrialState.RUNNING and not one.intermediate_values
    ]
    surrogate = Surrogate(points, observations)
    if silent:
        expected = surrogate.expect([points[place] for place in silent], first)
        observations += [
            Observation(place, first, float(score))
            for place, score in zip(silent, expected, strict=True)
        ]
        surrogate = Surrogate(points, observations)
    new = [point_of(one.params, one.distributions) for one in candidates]
    mean, deviation = surrogate.predict(new, last)
    gains = mean + NUM_DEVIATIONS * deviation - surrogate.expect(points, last).max()
    seconds = {
        place: one.user_attrs[TRAINING_SECONDS]
        for place, one in enumerate(trials)
        if TRAINING_SECONDS in one.user_attrs
    }
    worths = gain_for_time(gains, relative_times(points, seconds, new))
    return [candidates[place] for place in sorted(range(len(new)), key=lambda one: -worths[one])]


def _observations(trials: Sequence[FrozenTrial]) -> list[Observation]:
    """Every score of every rung; a failed trial has the worst of all, at the first rung."""
    observations = [
        Observation(place, epoch, score)
        for place, one in enumerate(trials)
        for epoch, score in one.intermediate_values.items()
    ]
    first = min(one.epoch for one in observations)
    worst = min(one.score for one in observations)
    return observations + [
        Observation(place, first, worst)
        for place, one in enumerate(trials)
        if one.state == TrialState.FAIL
    ]


def gain_for_time(gains: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The gain per unit of time (P,); a negative one times its time: a long loss is worse."""
    return np.where(gains > 0, gains / times, gains * times)


def point_of(params: Mapping[str, Any], distributions: Mapping[str, BaseDistribution]) -> Point:
    """A trial as the surrogate sees it.

    Rate sets are sets of rates, whatever branch they come from; the space's own choices are left
    out.
    """
    point: dict[str, float | frozenset[str]] = {}
    for name, value in params.items():
        distribution = distributions[name]
        path = name.partition("@")[0]
        if not path:
            continue
        if not isinstance(distribution, CategoricalDistribution):
            assert isinstance(distribution, FloatDistribution | IntDistribution), distribution
            point[name] = place_of(distribution, float(value))
        else:
            point[path] = frozenset(str(value).split("-") if path == RATES else [repr(value)])
    return point


def _frozen(params: Mapping[str, Any]) -> frozenset[tuple[str, Any]]:
    return frozenset(params.items())
