"""The protocols of a run's reporter and of an evaluator elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch

Points = list[tuple[int, dict[str, float]]]
"""Steps with their metrics; JSON keeps each pair as a list."""


class Reporter(Protocol):
    """Receives a run's metrics and decides at rungs; called by the first worker only.

    A run that dies and resumes may report the same thing twice: `log` and `at_rung` are to be
    idempotent for one run by their step and epoch. An error raised here reaches every worker and
    ends the run on all of them.
    """

    def log(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Record `metrics` after `step` optimiser steps; does not wait for a tracker."""
        ...

    def at_rung(
        self, *, epoch: int, step: int, metrics: Mapping[str, float], hits: Mapping[str, bool]
    ) -> bool:
        """Whether the run goes on after `epoch` epochs, by its evaluation `metrics`; may block.
        False: leave now.

        `hits` says of each query, by its key, whether it counts in the metric that `pretrain` was
        told to report them of; empty where it was told none. After the last epoch it is called too,
        so that every final value is reported; there its answer changes nothing.
        """
        ...

    def unconfirmed(self) -> Points:
        """What was logged and is not known to be kept by a tracker yet; each checkpoint carries it.
        Never blocks, never raises.
        """
        ...

    def log_again(self, points: Points) -> None:
        """Log what the checkpoint had from which the run goes on; called before the first step."""
        ...


class AsyncEvaluator(Protocol):
    """Evaluates a run's rungs elsewhere while training continues. Called by the first worker only.

    A run that dies and resumes may submit a rung twice; the second submission changes nothing. An
    error raised here ends the run on all workers.
    """

    def submit_rung(self, *, epoch: int, step: int, weights: Mapping[str, torch.Tensor]) -> None:
        """Queue the encoder's `weights` (copies on the CPU) after `epoch` epochs for evaluation.

        The checkpoint of `step` may still be on its way to the store. Waits neither for a store nor
        for the result.
        """
        ...

    def should_stop(self) -> bool:
        """Whether a pruning decision to stop the run has arrived. Never blocks."""
        ...


@dataclass
class MemoryReporter:
    """A reporter that keeps everything in lists.

    `should_continue(epoch, metrics)` decides at rungs; by default every run continues. `hits` is by
    the epoch of a rung.
    """

    should_continue: Callable[[int, Mapping[str, float]], bool] = lambda epoch, metrics: True
    logged: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    rungs: list[tuple[int, int, dict[str, float]]] = field(default_factory=list)
    hits: dict[int, dict[str, bool]] = field(default_factory=dict)

    def log(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Append ``(step, metrics)`` to `logged`."""
        self.logged.append((step, dict(metrics)))

    def at_rung(
        self, *, epoch: int, step: int, metrics: Mapping[str, float], hits: Mapping[str, bool]
    ) -> bool:
        """Append ``(epoch, step, metrics)`` to `rungs`, keep `hits`, and ask `should_continue`."""
        self.rungs.append((epoch, step, dict(metrics)))
        self.hits[epoch] = dict(hits)
        return self.should_continue(epoch, metrics)

    def unconfirmed(self) -> Points:
        """Nothing: lists keep what they are given."""
        return []

    def log_again(self, points: Points) -> None:
        """Append `points` to `logged`."""
        self.logged += [(step, dict(metrics)) for step, metrics in points]

    def series(self, name: str) -> list[tuple[int, float]]:
        """The logged values of one metric as ``(step, value)``, in the order in which they came."""
        return [(step, metrics[name]) for step, metrics in self.logged if name in metrics]
