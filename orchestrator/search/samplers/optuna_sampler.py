"""An adapter that makes any of Optuna's samplers one of ours, and the ``tpe`` sampler.

A study may hand over any `optuna.samplers.BaseSampler`: ``main(space, sampler=GPSampler(seed=1))``.
Most of Optuna's samplers learn from complete trials alone, and in a sweep that prunes few trials
complete. So the adapter shows them a pruned trial as a complete one with the score of its last
rung, and a trial that failed or did not fit as one with the worst score of all. `TPESampler` is
shown the true states, because it ranks pruned trials below complete ones itself.
"""

from __future__ import annotations

import copy
from collections.abc import Container, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from orchestrator.search.samplers.design import DesignSampler
from orchestrator.search.samplers.sampler import Fits, History, Sampler
from prp_core.errors import UserError


class OptunaSampler(Sampler):
    """Draws with `sampler`, one of Optuna's; after the trials of `design` where there is one.

    Optuna's samplers draw from a stream of random numbers that no database keeps: a resumed study
    would draw its first trials again. A `sampler` that finds trials of an earlier process is
    therefore seeded anew (`BaseSampler.reseed_rng`), from the machine's entropy.
    """

    def __init__(self, sampler: BaseSampler, *, design: DesignSampler | None = None) -> None:
        self._sampler = sampler
        self._design = design
        self._is_first = True

    def propose(self, history: History, fits: Fits) -> Mapping[str, Any]:
        """The sampler's draw; values are in the study's database when this returns."""
        if self._design is not None and self._design.is_due(history):
            return self._design.propose(history, fits)
        if self._is_first and self._design is None and any(map(_was_drawn, history.trials)):
            self._sampler.reseed_rng()
        self._is_first = False
        study = self._study_of(history.study)
        id_of = study._storage.get_trial_id_from_study_id_trial_number
        trial = optuna.trial.Trial(study, id_of(study._study_id, history.number))
        history.space(trial)
        return trial.params

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Hand the ended trial on: some samplers learn here."""
        self._sampler.after_trial(self._study_of(study), trial, state, values)

    def _study_of(self, study: Study) -> Study:
        shown = Study if isinstance(self._sampler, TPESampler) else _CompletedStudy
        return shown(study.study_name, study._storage, self._sampler, optuna.pruners.NopPruner())


class ProposedValues(BaseSampler):
    """The other way round: answers Optuna's trials with `values`, which `sampler` proposed."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler
        self.values: Mapping[str, Any] = {}

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """None: every dimension is asked for by its name."""
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
        """The proposed value; raises `UserError` for a dimension for which there is none."""
        if param_name not in self.values:
            proposed = ", ".join(sorted(self.values)) or "nothing"
            raise UserError(
                f"The search space suggests {param_name!r}, for which its sampler proposed no "
                f"value, only for {proposed}; a space may branch on the values that it drew and on "
                "nothing else"
            )
        return self.values[param_name]

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Tell the sampler."""
        self._sampler.after_trial(study, trial, state, values)


def tree_parzen_sampler(*, seed: int, num_startup: int) -> OptunaSampler:
    """The design, then Optuna's tree-structured Parzen estimator.

    It models all dimensions at once (multivariate), group by group of those that occur together; a
    running trial counts as bad (constant liar).
    """
    sampler = TPESampler(
        seed=seed,
        n_startup_trials=1,
        multivariate=True,
        group=True,
        constant_liar=True,
        warn_independent_sampling=False,
    )
    return OptunaSampler(sampler, design=DesignSampler(seed=seed, num_startup=num_startup))


class _CompletedStudy(Study):
    """A study whose ended trials all are complete, see this file's first lines."""

    def get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        return self._get_trials(deepcopy, states)

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        trials = completed(super()._get_trials(deepcopy, None, use_cache))
        return [one for one in trials if states is None or one.state in states]

    def stop(self) -> None:
        """Do nothing: samplers of grids call it at their end, and `num_trials` ends a sweep."""


def completed(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """`trials` with every ended one as a complete one.

    A pruned trial has its last value, one that failed or did not fit the worst value of all.
    Repeats, and all trials while none has a value, stay as they are.
    """
    worst = min((one.value for one in trials if one.value is not None), default=None)
    return [_completed(one, worst) for one in trials]


def _was_drawn(trial: FrozenTrial) -> bool:
    return trial.state != TrialState.WAITING and "warm" not in trial.user_attrs


def _completed(trial: FrozenTrial, worst: float | None) -> FrozenTrial:
    is_repeat = trial.state == TrialState.FAIL and "unfit" in trial.user_attrs
    if trial.state not in (TrialState.PRUNED, TrialState.FAIL) or is_repeat:
        return trial
    value = worst if trial.value is None else trial.value
    if value is None:
        return trial
    shown = copy.copy(trial)
    shown.state = TrialState.COMPLETE
    shown.value = value
    return shown
