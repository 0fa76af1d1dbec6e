"""A search space as a sweep keeps it: the name and the distribution of each of its dimensions.

A space is a function that may branch on what it drew, so it is run many times over, on draws that
depend on nothing: the same space gives the same record, on any machine.
"""

from __future__ import annotations

import random

from optuna.distributions import distribution_to_json

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
