"""Which values the next trial gets: first a design that covers the space evenly, then a model of what was good.

The design is for the first trials. A category that was drawn least comes next; a number falls into the stretch of its range that was drawn
least, at random within it. It counts what the database holds, so concurrent trials and resumed sweeps fill the same gaps. After it comes Optuna's
tree-structured Parzen estimator, over all dimensions at once, group by group of those that occur together; a trial that runs counts as bad
(the constant liar), so that concurrent trials spread.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

MIN_FINISHED = 2  # a model of fewer trials is a guess
JUDGED = (TrialState.COMPLETE, TrialState.PRUNED)


def is_design_due(num_asked: int, num_judged: int, num_startup: int) -> bool:
    """Whether the next trial belongs to the design: `num_asked` trials were asked before it, `num_judged` of them have a value."""
    return num_asked < num_startup or num_judged < min(MIN_FINISHED, num_startup)


class SweepSampler(optuna.samplers.BaseSampler):
    """The design for `num_startup` trials, then the model. Draws depend on `seed`, the trial's number and what the study holds."""

    def __init__(self, *, seed: int, num_startup: int) -> None:
        self._seed, self._num_startup = seed, num_startup
        self._model = optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=1, multivariate=True, group=True, constant_liar=True, warn_independent_sampling=False
        )

    def reseed_rng(self) -> None:
        """For Optuna's own loops."""
        self._model.reseed_rng()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The dimensions that are drawn together: none in the design, all in the model."""
        return {} if self._is_design_due(study, trial) else self._model.infer_relative_search_space(study, trial)

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        """The model's draw of all of `search_space`."""
        return {} if self._is_design_due(study, trial) else self._model.sample_relative(study, trial, search_space)

    def sample_independent(self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution) -> Any:
        """The value of one dimension: the design's, or the model's where it has no trial of this branch yet."""
        if not self._is_design_due(study, trial):
            return self._model.sample_independent(study, trial, param_name, param_distribution)
        others = [one.params[param_name] for one in study.get_trials(deepcopy=False) if param_name in one.params and counts(one)]
        draw = random.Random(f"{self._seed} {trial.number} {param_name}")
        return least_drawn(param_distribution, others, max(2, self._num_startup), draw)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """The model learns."""
        self._model.after_trial(study, trial, state, values)

    def _is_design_due(self, study: Study, trial: FrozenTrial) -> bool:
        others = [one for one in study.get_trials(deepcopy=False) if one.number != trial.number and counts(one)]
        return is_design_due(len(others), sum(one.state in JUDGED for one in others), self._num_startup)


def counts(trial: FrozenTrial) -> bool:
    """Whether a trial was or will be run, here or in an earlier sweep; what never fitted, or waits to be tried, does not count."""
    return "unfit" not in trial.user_attrs and trial.state != TrialState.WAITING


def least_drawn(distribution: BaseDistribution, others: Sequence[Any], num_stretches: int, draw: random.Random) -> Any:
    """A value of `distribution` where `others`, the values drawn so far, are fewest."""
    if isinstance(distribution, CategoricalDistribution):
        drawn = [sum(_equal(other, choice) for other in others) for choice in distribution.choices]
        return draw.choice([choice for choice, count in zip(distribution.choices, drawn, strict=True) if count == min(drawn)])
    assert isinstance(distribution, FloatDistribution | IntDistribution), distribution
    places = [_place(distribution, float(other)) for other in others]
    drawn = [sum(int(min(place, 1 - 1e-9) * num_stretches) == stretch for place in places) for stretch in range(num_stretches)]
    stretch = draw.choice([index for index, count in enumerate(drawn) if count == min(drawn)])
    return _value(distribution, (stretch + draw.random()) / num_stretches)


def _place(distribution: FloatDistribution | IntDistribution, value: float) -> float:
    """Where `value` lies in the range, 0 to 1; on a logarithmic scale where the distribution is."""
    low, high = float(distribution.low), float(distribution.high)
    if high == low:
        return 0.0
    if distribution.log:
        return (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))
    return (value - low) / (high - low)


def _value(distribution: FloatDistribution | IntDistribution, place: float) -> float | int:
    low, high = float(distribution.low), float(distribution.high)
    value = math.exp(math.log(low) + place * (math.log(high) - math.log(low))) if distribution.log else low + place * (high - low)
    if distribution.step:
        value = low + round((value - low) / distribution.step) * distribution.step
    value = min(max(value, low), high)
    return int(value) if isinstance(distribution, IntDistribution) else value


def _equal(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other
