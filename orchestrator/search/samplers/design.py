"""Samplers without a model: a space-filling design for the first trials, and random search.

A category that was drawn least comes next; a number falls into the stretch of its range that was
drawn least, at random within it. The design counts what the database holds, so concurrent trials
and resumed sweeps fill the same gaps.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState

from orchestrator.search.samplers.sampler import Fits, History, Sampler
from orchestrator.search.space import Fit, Space
from orchestrator.search.stand_in import StandIn

MIN_FINISHED = 2  # a model of fewer trials is a guess
MAX_UNFIT_IN_A_ROW = 200  # draws that cannot be trained, before nothing in the space can be
SCORED = (TrialState.COMPLETE, TrialState.PRUNED)


def is_design_due(num_asked: int, num_scored: int, num_startup: int) -> bool:
    """Whether the next trial belongs to the design.

    `num_asked` trials were asked for before it, `num_scored` of them have a value.
    """
    return num_asked < num_startup or num_scored < min(MIN_FINISHED, num_startup)


class DesignSampler(Sampler):
    """The space-filling design of the first `num_startup` trials.

    Draws depend on `seed`, the trial's number, and what the study holds.
    """

    def __init__(self, *, seed: int, num_startup: int) -> None:
        self._seed = seed
        self._num_startup = num_startup

    def is_due(self, history: History) -> bool:
        """Whether the new trial of `history` belongs to the design."""
        counted = history.counted
        num_scored = sum(one.state in SCORED for one in counted)
        return is_design_due(len(counted), num_scored, self._num_startup)

    def propose(self, history: History, fits: Fits) -> Mapping[str, Any]:
        """In each dimension the value that was drawn least.

        Values that did not fit count as drawn: otherwise the design would ask for them for ever.
        """
        started = [one for one in history.trials if one.state != TrialState.WAITING]

        def choose(name: str, distribution: BaseDistribution) -> Any:
            others = [one.params[name] for one in started if name in one.params]
            draw = random.Random(f"{self._seed} {history.number} {name}")
            return least_drawn(distribution, others, max(2, self._num_startup), draw)

        return history.drawn(choose).params


class RandomSampler(Sampler):
    """Every value at random.

    A draw depends on `seed` and the trial's number, so a resumed sweep goes on where it was.
    """

    def __init__(self, *, seed: int) -> None:
        self._seed = seed

    def propose(self, history: History, fits: Fits) -> Mapping[str, Any]:
        """See `Sampler.propose`."""

        def choose(name: str, distribution: BaseDistribution) -> Any:
            draw = random.Random(f"{self._seed} {history.number} {name}")
            return least_drawn(distribution, [], 1, draw)

        return history.drawn(choose).params


def drawn_from(space: Space, draw: random.Random, number: int = 0) -> StandIn:
    """A trial whose values are drawn at random from `space`; it touches no database."""
    trial = StandIn(lambda _, distribution: least_drawn(distribution, [], 1, draw), number)
    space(trial)
    return trial


def first_fit(
    space: Space, fits: Callable[[Mapping[str, Any]], Fit], seed: int
) -> tuple[dict[str, Any], Fit]:
    """Draw from `space` at random until something fits; touches no database.

    The values that were drawn last, and whether they fit.
    """
    draw = random.Random(seed)
    values = {}
    fit = Fit(False, "nothing was drawn")
    for _ in range(MAX_UNFIT_IN_A_ROW):
        values = drawn_from(space, draw).params
        fit = fits(values)
        if fit.ok:
            break
    return values, fit


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
    places = [place_of(distribution, float(other)) for other in others]
    drawn = [
        sum(int(min(place, 1 - 1e-9) * num_stretches) == stretch for place in places)
        for stretch in range(num_stretches)
    ]
    stretch = draw.choice([index for index, count in enumerate(drawn) if count == min(drawn)])
    return _value_at(distribution, (stretch + draw.random()) / num_stretches)


def place_of(distribution: FloatDistribution | IntDistribution, value: float) -> float:
    """Where `value` lies in the range, 0 to 1; on a logarithmic scale where the distribution is."""
    low = float(distribution.low)
    high = float(distribution.high)
    if high == low:
        return 0.0
    if distribution.log:
        return (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))
    return (value - low) / (high - low)


def _value_at(distribution: FloatDistribution | IntDistribution, place: float) -> float | int:
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
