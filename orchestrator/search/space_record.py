"""A search space as a sweep keeps it: the name and the distribution of each of its dimensions.

A space is a function that may branch on what it drew, so it is run many times over, on draws that
depend on nothing: the same space gives the same record, on any machine.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    distribution_to_json,
    json_to_distribution,
)

from orchestrator.search.samplers.design import drawn_from
from orchestrator.search.space import Space

NUM_DRAWS = 256  # a branch that one trial in 20 takes is missed once in 500,000 spaces


def record_space(space: Space) -> dict[str, str]:
    """Name of a dimension -> its distribution as Optuna's JSON, in the order of appearance."""
    dimensions: dict[str, str] = {}
    for number in range(NUM_DRAWS):
        trial = drawn_from(space, random.Random(number), number)
        for name, distribution in trial.distributions.items():
            dimensions.setdefault(name, distribution_to_json(distribution))
    return dimensions


def refused_values(space: Mapping[str, str], values: Mapping[str, Any]) -> str:
    """Why `values` by name cannot be tried in the recorded `space`; empty where they can.

    Names the dimension, the value and what there is.
    """
    for name, value in values.items():
        if name not in space:
            near = get_close_matches(name, space, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            return f"the space has no dimension {name!r}.{hint} It has {', '.join(space)}"
        distribution = json_to_distribution(space[name])
        try:
            is_inside = distribution._contains(distribution.to_internal_repr(value))
        except (ValueError, TypeError):
            is_inside = False
        if not is_inside:
            return f"{name} = {value!r} is not in the space: {in_words(distribution)}"
    return ""


def in_words(distribution: BaseDistribution) -> str:
    """The values of a dimension, for a person."""
    if isinstance(distribution, CategoricalDistribution):
        return f"one of {', '.join(map(str, distribution.choices))}"
    low, high = getattr(distribution, "low", "?"), getattr(distribution, "high", "?")
    return f"from {low} to {high}"
