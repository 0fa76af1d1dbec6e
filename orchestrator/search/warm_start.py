"""Warm start: trials of earlier sweeps, as completed trials of this study or as hints for it.

A past trial counts when it was measured by the same protocol, trained on the same videos with the
same values wherever this space does not vary, and its sampled values lie inside this space. One
that lies inside but was measured or trained otherwise is tried again early, because figures of
another protocol do not compare.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from orchestrator.search.dimensions import config_values
from orchestrator.search.space import Space
from orchestrator.search.stand_in import StandIn
from orchestrator.tracking.past_trials import PastTrial
from orchestrator.trial_state import TrialState

# What decides what is learnt. Two trials that differ here, other than in what the space varies, are
# two experiments.
LEARNING = ("encoder.", "clip.", "pretext.", "training.", "seed")
NOT_LEARNING = (
    "training.checkpoint_every_steps",
    "training.num_checkpoints_kept",
    "training.log_every_steps",
)
MAX_HINTS = 3


@dataclass(frozen=True)
class WarmStart:
    """The past trials that count, with this space's values and distributions, and the `hints`: past
    trials whose values are tried first. `num_outside` lie outside this space; `num_unused` lie
    inside and are neither, because they have no figure or others are better hints.
    """

    counted: tuple[tuple[PastTrial, dict[str, Any], dict[str, BaseDistribution]], ...] = ()
    hints: tuple[tuple[PastTrial, dict[str, Any]], ...] = ()
    num_outside: int = 0
    num_unused: int = 0

    def line(self) -> str:
        """For a person."""
        sweeps = len(
            {
                one.sweep_id
                for one in [
                    *(entry[0] for entry in self.counted),
                    *(entry[0] for entry in self.hints),
                ]
            }
        )
        if not self.counted and not self.hints:
            return (
                f"warm start: nothing of use found ({self.num_outside} past trials lie "
                f"outside this space{self._unused()})"
            )
        return (
            f"warm start: {len(self.counted)} trials of {sweeps} earlier "
            f"sweep{'s' if sweeps > 1 else ''} count as measured, "
            f"{len(self.hints)} measured or trained otherwise are tried first, "
            f"{self.num_outside} lie outside this space{self._unused()}"
        )

    def _unused(self) -> str:
        return f", {self.num_unused} others are not used" if self.num_unused else ""


NOTHING_KNOWN = WarmStart()


def plan_warm_start(
    past: Sequence[PastTrial],
    space: Space,
    params: Mapping[str, str],
    protocol_hash: str,
    videos_hash: str = "",
) -> WarmStart:
    """Sort the `past` trials for a sweep with `space` over the base config `params`.

    `params` are values by path, as text; the sweep is measured by `protocol_hash` and learns from
    the videos of `videos_hash` (empty: not known).
    """
    counted = []
    hints = []
    num_outside = 0
    for one in past:
        trial = replayed(one)
        try:
            space(trial)
        except OutsideSpace:
            num_outside += 1
            continue
        alike = (
            one.protocol_hash == protocol_hash
            and (not videos_hash or one.videos_hash == videos_hash)
            and trained_alike(one.params, params, set(config_values(trial.params)))
        )
        if alike and one.rungs:
            counted.append((one, trial.params, trial.distributions))
        elif one.state == TrialState.FINISHED and one.rungs:
            hints.append((one, trial.params))
    kept = tuple(_best_of_each_protocol(hints)[:MAX_HINTS])
    num_unused = len(past) - len(counted) - len(kept) - num_outside
    return WarmStart(tuple(counted), kept, num_outside, num_unused)


def _best_of_each_protocol(
    hints: Sequence[tuple[PastTrial, dict[str, Any]]],
) -> list[tuple[PastTrial, dict[str, Any]]]:
    """`hints` best first among those that were measured alike, one of each protocol in turn:
    figures of two protocols do not compare.
    """
    alike: dict[str, list[tuple[PastTrial, dict[str, Any]]]] = {}
    for hint in hints:
        alike.setdefault(hint[0].protocol_hash, []).append(hint)
    for group in alike.values():
        group.sort(key=lambda hint: -hint[0].rungs[max(hint[0].rungs)])
    turns = zip_longest(*alike.values())
    return [hint for turn in turns for hint in turn if hint is not None]


def trained_alike(theirs: Mapping[str, str], ours: Mapping[str, str], varied: set[str]) -> bool:
    """Whether two configs agree in all that decides what is learnt, the `varied` paths aside."""
    paths = {
        path
        for path in {*theirs, *ours}
        if path.startswith(LEARNING) and path not in NOT_LEARNING and path not in varied
    }
    return all(theirs.get(path) == ours.get(path) for path in paths)


def add_to_study(study: optuna.Study, warm: WarmStart) -> None:
    """Put what counts into `study` as ended trials, marked ``warm``, and enqueue the hints.

    Done again, nothing is doubled.
    """
    there = {
        trial.user_attrs.get(mark)
        for trial in study.get_trials(deepcopy=False)
        for mark in ("warm", "hint")
    }
    counted = [entry for entry in warm.counted if entry[0].name not in there]
    for past, values, distributions in counted:
        finished = past.state == TrialState.FINISHED
        study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState.COMPLETE
                if finished
                else optuna.trial.TrialState.PRUNED,
                value=past.rungs[max(past.rungs)],
                params=values,
                distributions=distributions,
                intermediate_values=dict(past.rungs),
                user_attrs={"warm": past.name},
            )
        )
    for past, values in (hint for hint in warm.hints if hint[0].name not in there):
        study.enqueue_trial(values, user_attrs={"hint": past.name})


class OutsideSpace(Exception):
    """A past trial has no value for a dimension of this space, or one that it does not offer."""


def replayed(past: PastTrial) -> StandIn:
    """A trial that answers each suggestion with the value of the `past` one, or raises
    `OutsideSpace`.
    """

    def choose(name: str, distribution: BaseDistribution) -> Any:
        value = (
            past.sampled[name] if name in past.sampled else _from_config(past, name, distribution)
        )
        if not _offers(distribution, value):
            raise OutsideSpace(name)
        return value

    return StandIn(choose, past.number)


def _from_config(past: PastTrial, name: str, distribution: BaseDistribution) -> Any:
    """The value in the past trial's config, where its space did not vary it."""
    text = past.params.get(name.partition("@")[0])
    if text is None:
        raise OutsideSpace(name)
    if isinstance(distribution, CategoricalDistribution):
        return next((choice for choice in distribution.choices if str(choice) == text), None)
    try:
        return int(text) if isinstance(distribution, IntDistribution) else float(text)
    except ValueError:
        raise OutsideSpace(name) from None


def _offers(distribution: BaseDistribution, value: Any) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return any(
            type(choice) is type(value) and choice == value for choice in distribution.choices
        )
    try:
        return distribution._contains(distribution.to_internal_repr(value))
    except (TypeError, ValueError):
        return False
