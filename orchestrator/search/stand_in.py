"""Stand-ins for Optuna's trial: a space runs on one without touching any database."""

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
"""The value of the dimension of this name, out of its distribution."""


class StandIn:
    """Answers each suggestion with what `choose` says, and keeps it; `number` for spaces that ask
    for it.
    """

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
            self.params[name], self.distributions[name] = (
                self._choose(name, distribution),
                distribution,
            )
        return self.params[name]
