"""A stand-in for Optuna's trial, on which a search space runs without any database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

Choose = Callable[[str, BaseDistribution], Any]
"""Name of a dimension, its distribution -> its value."""


class StandIn:
    """A trial whose `choose` answers each suggestion; `params` and `distributions` keep them."""

    def __init__(self, choose: Choose, number: int = 0) -> None:
        self._choose = choose
        self.number = number
        self.params: dict[str, Any] = {}
        self.distributions: dict[str, BaseDistribution] = {}

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._take(name, CategoricalDistribution(tuple(choices)))

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> Any:
        return self._take(name, FloatDistribution(low, high, log=log, step=step))

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> Any:
        return self._take(name, IntDistribution(low, high, log=log, step=step))

    def _take(self, name: str, distribution: BaseDistribution) -> Any:
        if name not in self.params:
            self.params[name] = self._choose(name, distribution)
            self.distributions[name] = distribution
        return self.params[name]
