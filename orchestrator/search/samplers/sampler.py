"""The sampler protocol: the values of the next trial, proposed from the history of the study."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from optuna.distributions import BaseDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from orchestrator.search.space import Fit, Space
from orchestrator.search.stand_in import StandIn

TRAINING_SECONDS = "training_seconds"  # the note of a trial that says what its whole training takes

Fits = Callable[[Mapping[str, Any]], Fit]
"""Whether sampled values can be trained on this corpus at all."""


@dataclass(frozen=True)
class History:
    """What a sampler draws from: the `space`, the `number` of the new trial, every other trial.

    `fixed` are values of the new trial that are decided (a hint of an earlier sweep, or drawn
    before the driver died). Optuna's own samplers read the `study`; ours need `trials` alone.
    """

    space: Space
    number: int
    trials: Sequence[FrozenTrial]
    study: Study
    fixed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def counted(self) -> list[FrozenTrial]:
        """The trials that were or will be run, here or in an earlier sweep.

        Not those that never fitted, nor those that wait in the queue.
        """
        return [
            one
            for one in self.trials
            if "unfit" not in one.user_attrs and one.state != TrialState.WAITING
        ]

    def drawn(self, choose: Callable[[str, BaseDistribution], Any]) -> StandIn:
        """A run of the space in which `choose` answers for each dimension that is not fixed."""
        trial = StandIn(
            lambda name, distribution: (
                self.fixed[name] if name in self.fixed else choose(name, distribution)
            ),
            self.number,
        )
        self.space(trial)
        return trial


class Sampler(Protocol):
    """Draws the values of trials. One that a study hands over is pickled to the coordinator."""

    def propose(self, history: History, fits: Fits) -> Mapping[str, Any]:
        """The value of each dimension that the space asks for, by name; `history.fixed` stands.

        A sampler may leave out what does not fit; otherwise the study tells it that the values
        were unfit and asks again. Draws depend on `history` and the sampler's own seed alone, so
        that a resumed sweep goes on as if it had not stopped.
        """
        ...

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Called before `trial` ends in `state`, for samplers that keep a state of their own."""
        del study, trial, state, values
