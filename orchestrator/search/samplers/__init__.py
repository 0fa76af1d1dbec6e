"""Samplers: which values the next trial gets, from what earlier trials scored.

`sampler.py` is the protocol, `design.py` draws the first trials evenly over the space (and draws at
random, for ``random``), `gaussian_process.py` is ``gp``, on the models in `surrogate.py` (of the
scores) and `training_time.py` (of how long values train), `optuna_sampler.py` makes any of Optuna's
samplers one of ours and is ``tpe``. `SAMPLERS` lists what ``sweep.sampler`` can name. To add one,
write its file, and its builder and its line here; contract tests find it by its being listed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prp_core.catalogue import look_up

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

    from orchestrator.search.samplers.sampler import Sampler

    GivenSampler = Sampler | BaseSampler
    """A sampler that a study hands over: ours, or one of Optuna's."""


@dataclass(frozen=True)
class NamedSampler:
    """A sampler that a config can name: `build(seed=, num_startup=)` makes it.

    One in `trials_per_startup` trials of a sweep belongs to its design (see `startup_trials`).
    """

    build: Callable[..., Sampler]
    trials_per_startup: int = 8


# Each builder imports its file when it is called: whoever only checks a name does not pay for
# optuna and numpy.


def _gp(*, seed: int, num_startup: int) -> Sampler:
    from orchestrator.search.samplers.gaussian_process import GaussianProcessSampler

    return GaussianProcessSampler(seed=seed, num_startup=num_startup)


def _tpe(*, seed: int, num_startup: int) -> Sampler:
    from orchestrator.search.samplers.optuna_sampler import tree_parzen_sampler

    return tree_parzen_sampler(seed=seed, num_startup=num_startup)


def _random(*, seed: int, num_startup: int) -> Sampler:
    from orchestrator.search.samplers.design import RandomSampler

    return RandomSampler(seed=seed)


SAMPLERS: dict[str, NamedSampler] = {
    "gp": NamedSampler(_gp),
    "tpe": NamedSampler(_tpe, trials_per_startup=4),  # it learns nothing across dimensions
    "random": NamedSampler(_random),
}


def make_sampler(sampler: str | GivenSampler, *, seed: int, num_startup: int) -> Sampler:
    """The sampler of that name in `SAMPLERS`, or the given one; one of Optuna's is adapted.

    `seed` and `num_startup` are for named samplers: a given one has its own. Raises `UserError`
    with the choices for an unknown name.
    """
    if isinstance(sampler, str):
        entry = look_up("sweep.sampler", sampler, SAMPLERS)
        return entry.build(seed=seed, num_startup=num_startup)
    from optuna.samplers import BaseSampler

    from orchestrator.search.samplers.optuna_sampler import OptunaSampler

    return OptunaSampler(sampler) if isinstance(sampler, BaseSampler) else sampler


def name_of(sampler: Any) -> str:
    """What a person calls `sampler`: its name in `SAMPLERS`, or the class of a given one."""
    return sampler if isinstance(sampler, str) else type(sampler).__name__


def startup_trials(asked: int, sampler: str, num_trials: int) -> int:
    """How many trials the design has: `asked`, or what suits the named `sampler` if that is 0.

    That is one in `trials_per_startup` of `num_trials`; at least 4, at most 16. A longer design
    costs a short sweep what the model would have saved (docs/experiments.md).
    """
    per_startup = look_up("sweep.sampler", sampler, SAMPLERS).trials_per_startup
    return asked or min(16, max(4, num_trials // per_startup))


__all__ = ["SAMPLERS", "NamedSampler", "make_sampler", "name_of", "startup_trials"]
