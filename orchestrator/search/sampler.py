"""Which values the next trial gets: first a design that covers the space evenly, then a model of
what was good.

The design is for the first trials. A category that was drawn least comes next; a number falls into
the stretch of its range that was drawn least, at random within it. It counts what the database
holds, so concurrent trials and resumed sweeps fill the same gaps. After it comes the model, by the
name of ``sweep.sampler``:

- ``gp``: a Gaussian process over all scores of all rungs (`surrogate.py`). Of many combinations
  that the space draws, the one is tried whose final score has the upper bound (Srinivas et al.,
  "Gaussian Process Optimization in the Bandit Setting", ICML 2010) that promises most above the
  best expected score of what was tried, for each second that it trains (`training_time.py`; Snoek,
  Larochelle, Adams, "Practical Bayesian Optimization of Machine Learning Algorithms", NIPS 2012,
  section 3.2, divide by the time as well). A trial that has no score yet counts as if it had what
  is expected of it, so that concurrent trials spread (the kriging believer); one that failed, as
  the worst score.
- ``tpe``: Optuna's tree-structured Parzen estimator, over all dimensions at once, group by group of
  those that occur together; a trial that runs counts as bad (the constant liar).
- ``random``: none at all, and no design either; to compare with.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from orchestrator.search.dimensions import RATES
from orchestrator.search.space import Fit, Space
from orchestrator.search.stand_in import StandIn
from orchestrator.search.surrogate import Observation, Point, Surrogate
from orchestrator.search.training_time import relative_times

MIN_FINISHED = 2  # a model of fewer trials is a guess
JUDGED = (TrialState.COMPLETE, TrialState.PRUNED)
NUM_CANDIDATES = 300
NUM_DEVIATIONS = 1.0  # of the upper bound above the expected score
TRAINING_SECONDS = "training_seconds"  # the note of a trial that says what its whole training takes

Fits = Callable[[Mapping[str, Any]], Fit]


def startup_trials(asked: int, sampler: str, num_trials: int) -> int:
    """How many trials the design has: as many as `asked` for, else (0) what suits `sampler` in a
    sweep of `num_trials`.

    An eighth of them, a quarter for ``tpe``, which knows nothing of what its trials have in common;
    at least 4, at most 16. More of a design than that costs a short sweep what the model would have
    saved (docs/experiments.md).
    """
    return asked or min(16, max(4, num_trials // (4 if sampler == "tpe" else 8)))


def is_design_due(num_asked: int, num_judged: int, num_startup: int) -> bool:
    """Whether the next trial belongs to the design: `num_asked` trials were asked before it,
    `num_judged` of them have a value.
    """
    return num_asked < num_startup or num_judged < min(MIN_FINISHED, num_startup)


class DesignSampler(optuna.samplers.BaseSampler):
    """The design, for `num_startup` trials; a model is a subclass. Draws depend on `seed`, the
    trial's number and what the study holds.
    """

    def __init__(self, *, seed: int, num_startup: int) -> None:
        self._seed = seed
        self._num_startup = num_startup

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The dimensions that are drawn together: none in the design."""
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Nothing: see `infer_relative_search_space`."""
        return {}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """The value of one dimension. What did not fit was drawn, too: otherwise the design would
        ask for it until it fits.
        """
        drawn = [
            one
            for one in study.get_trials(deepcopy=False)
            if param_name in one.params and one.state != TrialState.WAITING
        ]
        others = [one.params[param_name] for one in drawn]
        draw = random.Random(f"{self._seed} {trial.number} {param_name}")
        return least_drawn(param_distribution, others, max(2, self._num_startup), draw)

    def _is_design_due(self, study: Study, trial: FrozenTrial) -> bool:
        others = _others(study, trial)
        return is_design_due(
            len(others), sum(one.state in JUDGED for one in others), self._num_startup
        )


class RandomSampler(DesignSampler):
    """Every value at random. A resumed sweep goes on where it was, because a draw depends on the
    trial's number.
    """

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """A value of one dimension."""
        return least_drawn(
            param_distribution, [], 1, random.Random(f"{self._seed} {trial.number} {param_name}")
        )


class ParzenSampler(DesignSampler):
    """The design, then Optuna's estimator."""

    def __init__(self, *, seed: int, num_startup: int) -> None:
        super().__init__(seed=seed, num_startup=num_startup)
        self._model = optuna.samplers.TPESampler(
            seed=seed,
            n_startup_trials=1,
            multivariate=True,
            group=True,
            constant_liar=True,
            warn_independent_sampling=False,
        )

    def reseed_rng(self) -> None:
        """For Optuna's own loops."""
        self._model.reseed_rng()

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The dimensions that are drawn together: none in the design, all in the model."""
        return (
            {}
            if self._is_design_due(study, trial)
            else self._model.infer_relative_search_space(study, trial)
        )

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The model's draw of all of `search_space`."""
        return (
            {}
            if self._is_design_due(study, trial)
            else self._model.sample_relative(study, trial, search_space)
        )

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """The value of one dimension: the design's, or the model's where it has no trial of this
        branch yet.
        """
        if self._is_design_due(study, trial):
            return super().sample_independent(study, trial, param_name, param_distribution)
        return self._model.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """The model learns."""
        self._model.after_trial(study, trial, state, values)


class SurrogateSampler(DesignSampler):
    """The design, then the candidate of `space` with the best upper bound. `fits` says of a
    candidate whether it can be trained at all.
    """

    def __init__(self, space: Space, *, seed: int, num_startup: int) -> None:
        super().__init__(seed=seed, num_startup=num_startup)
        self._space = space
        self._chosen: dict[int, dict[str, Any]] = {}
        self.fits: Fits = lambda values: Fit(True, "")

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Choose the trial's values; the space then asks for them one by one."""
        if not self._is_design_due(study, trial):
            self._chosen[trial.number] = self._choose(study, trial)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """The chosen value of one dimension, or the design's."""
        chosen = self._chosen.get(trial.number, {})
        return (
            chosen[param_name]
            if param_name in chosen
            else super().sample_independent(study, trial, param_name, param_distribution)
        )

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Forget what was chosen."""
        self._chosen.pop(trial.number, None)

    def _choose(self, study: Study, trial: FrozenTrial) -> dict[str, Any]:
        """The values of the best candidate; none, so that the design draws, where no candidate is
        new and fits.
        """
        draw = random.Random(f"{self._seed} {trial.number}")
        candidates = [drawn_from(self._space, draw, trial.number) for _ in range(NUM_CANDIDATES)]
        tried = {
            _frozen(one.params)
            for one in study.get_trials(deepcopy=False)
            if one.number != trial.number and counts(one)
        }
        new = {
            _frozen(candidate.params): candidate
            for candidate in candidates
            if _frozen(candidate.params) not in tried
        }
        ranked = self._ranked(list(new.values()), _others(study, trial))
        return next(
            (candidate.params for candidate in ranked if self.fits(candidate.params).ok), {}
        )

    def _ranked(
        self, candidates: Sequence[StandIn], others: Sequence[FrozenTrial]
    ) -> list[StandIn]:
        points = [point_of(one.params, one.distributions) for one in others]
        scores = [
            (place, epoch, score)
            for place, one in enumerate(others)
            for epoch, score in one.intermediate_values.items()
        ]
        if not scores or not candidates:
            return list(candidates)
        first = min(epoch for _, epoch, _ in scores)
        last = max(epoch for _, epoch, _ in scores)
        worst = min(score for _, _, score in scores)
        observations = [Observation(*score) for score in scores]
        observations += [
            Observation(place, first, worst)
            for place, one in enumerate(others)
            if one.state == TrialState.FAIL
        ]
        silent = [
            place
            for place, one in enumerate(others)
            if one.state == TrialState.RUNNING and not one.intermediate_values
        ]
        surrogate = Surrogate(points, observations)
        if silent:
            expected, _ = surrogate.predict([points[place] for place in silent], first)
            surrogate = Surrogate(
                points,
                observations
                + [
                    Observation(place, first, float(score))
                    for place, score in zip(silent, expected, strict=True)
                ],
            )
        new = [point_of(one.params, one.distributions) for one in candidates]
        mean, deviation = surrogate.predict(new, last)
        gains = mean + NUM_DEVIATIONS * deviation - surrogate.predict(points, last)[0].max()
        seconds = {
            place: one.user_attrs[TRAINING_SECONDS]
            for place, one in enumerate(others)
            if TRAINING_SECONDS in one.user_attrs
        }
        worths = dict(enumerate(gain_for_time(gains, relative_times(points, seconds, new))))
        return [candidates[place] for place in sorted(worths, key=lambda place: -worths[place])]


def gain_for_time(gains: np.ndarray, times: np.ndarray) -> np.ndarray:
    """What is to be gained for each unit of time (P,); where nothing is, the loss counts for as
    long as it takes.
    """
    return np.where(gains > 0, gains / times, gains * times)


def make_sampler(
    name: str, space: Space, *, seed: int, num_startup: int
) -> optuna.samplers.BaseSampler:
    """The sampler called `name`, one of ``sweep.sampler``'s."""
    if name == "random":
        return RandomSampler(seed=seed, num_startup=num_startup)
    if name == "tpe":
        return ParzenSampler(seed=seed, num_startup=num_startup)
    assert name == "gp", name
    return SurrogateSampler(space, seed=seed, num_startup=num_startup)


def drawn_from(space: Space, draw: random.Random, number: int = 0) -> StandIn:
    """A trial whose values are drawn at random from `space`; it touches no database."""
    trial = StandIn(lambda _, distribution: least_drawn(distribution, [], 1, draw), number)
    space(trial)
    return trial


def point_of(params: Mapping[str, Any], distributions: Mapping[str, BaseDistribution]) -> Point:
    """What the surrogate sees of a trial. Rate sets are sets of rates, whatever branch they come
    from; the space's own choices are left out.
    """
    point: dict[str, float | frozenset[str]] = {}
    for name, value in params.items():
        distribution = distributions[name]
        path = name.partition("@")[0]
        if not path:
            continue
        if not isinstance(distribution, CategoricalDistribution):
            assert isinstance(distribution, FloatDistribution | IntDistribution), distribution
            point[name] = _place(distribution, float(value))
        else:
            point[path] = frozenset(str(value).split("-") if path == RATES else [repr(value)])
    return point


def _others(study: Study, trial: FrozenTrial) -> list[FrozenTrial]:
    return [
        one
        for one in study.get_trials(deepcopy=False)
        if one.number != trial.number and counts(one)
    ]


def _frozen(params: Mapping[str, Any]) -> frozenset[tuple[str, Any]]:
    return frozenset(params.items())


def counts(trial: FrozenTrial) -> bool:
    """Whether a trial was or will be run, here or in an earlier sweep; what never fitted, or waits
    to be tried, does not count.
    """
    return "unfit" not in trial.user_attrs and trial.state != TrialState.WAITING


def least_drawn(
    distribution: BaseDistribution, others: Sequence[Any], num_stretches: int, draw: random.Random
) -> Any:
    """A value of `distribution` where `others`, the values drawn so far, are fewest."""
    if isinstance(distribution, CategoricalDistribution):
        drawn = [sum(_equal(other, choice) for other in others) for choice in distribution.choices]
        return draw.choice(
            [
                choice
                for choice, count in zip(distribution.choices, drawn, strict=True)
                if count == min(drawn)
            ]
        )
    assert isinstance(distribution, FloatDistribution | IntDistribution), distribution
    places = [_place(distribution, float(other)) for other in others]
    drawn = [
        sum(int(min(place, 1 - 1e-9) * num_stretches) == stretch for place in places)
        for stretch in range(num_stretches)
    ]
    stretch = draw.choice([index for index, count in enumerate(drawn) if count == min(drawn)])
    return _value(distribution, (stretch + draw.random()) / num_stretches)


def _place(distribution: FloatDistribution | IntDistribution, value: float) -> float:
    """Where `value` lies in the range, 0 to 1; on a logarithmic scale where the distribution is."""
    low = float(distribution.low)
    high = float(distribution.high)
    if high == low:
        return 0.0
    if distribution.log:
        return (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))
    return (value - low) / (high - low)


def _value(distribution: FloatDistribution | IntDistribution, place: float) -> float | int:
    low = float(distribution.low)
    high = float(distribution.high)
    value = (
        math.exp(math.log(low) + place * (math.log(high) - math.log(low)))
        if distribution.log
        else low + place * (high - low)
    )
    if distribution.step:
        value = low + round((value - low) / distribution.step) * distribution.step
    value = min(max(value, low), high)
    return int(value) if isinstance(distribution, IntDistribution) else value


def _equal(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other
