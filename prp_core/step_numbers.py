"""The numbers of training steps, summed on the device and read when they are asked for.

A step says its losses and metrics as a tensor, so that nothing waits for the device after each
step. They are read at a log window, at an epoch's end and before a checkpoint; a number that was
not finite is found there, with the step at which it came.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from prp_core.errors import DivergedError

EPOCH = 0
WINDOW = 1


@dataclass(frozen=True)
class StepNumbers:
    """The numbers of one step (counted from 1): `values_N` (float64, on the device) by `names`.

    Means over the clips of all workers, the same on each of them.
    """

    step: int
    names: tuple[str, ...]
    values_N: torch.Tensor

    def read(self) -> dict[str, float]:
        """The numbers, once the device has computed them; `DivergedError` for one not finite."""
        values: list[float] = self.values_N.tolist()
        raise_if_diverged(self.step, self.names, values)
        return dict(zip(self.names, values, strict=True))


def raise_if_diverged(step: int, names: tuple[str, ...], values: list[float]) -> None:
    """Raise `DivergedError` for the first of `values` that is not finite."""
    for name, value in zip(names, values, strict=True):
        if not math.isfinite(value):
            raise DivergedError(step, name, value)


class StepSums:
    """Sums of the steps' numbers, since an epoch began and since the last log.

    Nothing waits for the device but `means` and `state`.
    """

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._num_steps = [0, 0]
        self._sums_2N: torch.Tensor | None = None
        self._first_bad: torch.Tensor | None = None
        self._loaded: list[dict[str, float]] = [{}, {}]

    def add(self, numbers: StepNumbers) -> None:
        """Count one step's numbers."""
        values = numbers.values_N
        if self._sums_2N is None or self._first_bad is None:
            self._names = numbers.names
            rows = [[sums.get(name, 0.0) for name in self._names] for sums in self._loaded]
            self._sums_2N = torch.tensor(rows, dtype=values.dtype, device=values.device)
            self._first_bad = values.new_zeros(1 + len(values))
        assert numbers.names == self._names, (numbers.names, self._names)
        self._sums_2N += values
        self._num_steps = [count + 1 for count in self._num_steps]
        # Its step and its values; a step of 0 is none.
        named = torch.cat([values.new_full((1,), numbers.step), values])
        is_first = ~values.isfinite().all() & (self._first_bad[0] == 0)
        self._first_bad = torch.where(is_first, named, self._first_bad)

    def sums(self, row: int) -> dict[str, float]:
        """The sums since the epoch began (`EPOCH`) or since the last log (`WINDOW`), read.

        Raises `DivergedError` on every worker alike when a number of any step was not finite.
        """
        if self._sums_2N is None or self._first_bad is None:
            return dict(self._loaded[row])
        values: list[float] = torch.cat([self._sums_2N[row], self._first_bad]).tolist()
        count = len(self._names)
        if values[count]:
            raise_if_diverged(int(values[count]), self._names, values[count + 1 :])
        return dict(zip(self._names, values[:count], strict=True))

    def means(self, row: int) -> dict[str, float]:
        """As `sums`, for each step; empty before the first one."""
        num_steps = self._num_steps[row]
        return {name: total / num_steps for name, total in self.sums(row).items() if num_steps}

    def clear(self, row: int) -> None:
        """Start again, without any step."""
        self._num_steps[row] = 0
        self._loaded[row] = {}
        if self._sums_2N is not None:
            self._sums_2N[row] = 0.0

    def state(self, row: int) -> dict[str, Any]:
        """What `load_state` needs to continue bit for bit."""
        return {"num_steps": self._num_steps[row], "sums": self.sums(row)}

    def load_state(self, row: int, state: Mapping[str, Any]) -> None:
        """Continue where `state` was taken; called before the first step."""
        assert self._sums_2N is None
        self._num_steps[row] = int(state["num_steps"])
        self._loaded[row] = dict(state["sums"])
