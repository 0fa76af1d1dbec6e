"""Confirming the best trials of a sweep: which ones, with which seeds, and what the runs show.

Pure; `sweep/confirm_run.py` runs it. The search's own figures flatter: the best of many was lucky
in its seed and in its validation videos. So the best few are trained again at full length with
seeds that the search never used, the same ones for each of them, and compared in pairs: with the
same seed two candidates see the videos in the same order, and both answer every query.

The rule: a candidate beats another when the mean paired difference of recall@1 lies above 0 by both
of its 95 % intervals: over seeds (Student's t; would it be so with other seeds?) and over groups of
queries (with other scenes?). The best is named the winner only when it beats every other
candidate. Otherwise those that it does not beat are tied with it, and the cheapest of them is
taken.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean, stdev
from typing import Any

from prp_core.evaluation.intervals import MIN_GROUPS, Interval, group_interval

OBJECTIVE = "retrieval/recall_at_1"
BROKEN = "-"


@dataclass(frozen=True, kw_only=True)
class ConfirmedRun:
    """The result of one confirming run: `hits` has a character for each query in the order of
    their keys: 1, 0, or - for a broken video.
    """

    trial: int
    seed: int
    recall_at_1: float
    hits: str


@dataclass(frozen=True)
class Candidate:
    """A candidate's seeds and their recall@1, with the interval over seeds."""

    trial: int
    seeds: tuple[int, ...]
    recall_at_1: tuple[float, ...]
    low: float
    high: float

    @property
    def mean(self) -> float:
        """Over seeds."""
        return fmean(self.recall_at_1)


@dataclass(frozen=True)
class Comparison:
    """The best candidate against trial `other`: the mean paired difference of recall@1, with its
    interval over seeds and over groups of queries (None: there are too few groups for one).
    """

    other: int
    over_seeds: Interval
    over_groups: Interval | None

    @property
    def margin(self) -> float:
        """How far both intervals lie above 0; negative: they do not, or one is missing."""
        if self.over_groups is None:
            return -1.0
        return min(self.over_seeds.low, self.over_groups.low)

    @property
    def is_apart(self) -> bool:
        """Whether the best beats the other one."""
        return self.margin > 0


class ConfirmationOutcome(StrEnum):
    """What a confirmation shows."""

    WINNER = "winner"
    """The best candidate beats every other one."""

    TIE = "tie"
    """The best candidate cannot be told apart from another one."""


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """The result of a confirmation: `candidates` best first, the trial that is `taken`, the trials
    that are `tied` (none where there is a winner), and why, in one sentence.
    """

    candidates: tuple[Candidate, ...]
    outcome: ConfirmationOutcome
    taken: int
    text: str
    tied: tuple[int, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """As it is kept with the study."""
        candidates = [
            {
                "trial": one.trial,
                "seeds": list(one.seeds),
                "recall_at_1": list(one.recall_at_1),
                "low": one.low,
                "high": one.high,
            }
            for one in self.candidates
        ]
        return {
            "candidates": candidates,
            "outcome": self.outcome,
            "taken": self.taken,
            "tied": list(self.tied),
            "text": self.text,
        }


# ---- what is run


def best_trials(scores: Mapping[int, float], number: int) -> list[int]:
    """The `number` best finished trials of `scores` (number -> objective), best first; of equals
    the earlier.
    """
    return sorted(scores, key=lambda trial: (-scores[trial], trial))[:number]


def candidates_of(scores: Mapping[int, float], number: int, rates: Mapping[int, str]) -> list[int]:
    """The `number` best finished trials, best first.

    Where all of them have one rate set, the last gives its place to the best trial with another, if
    there is one: a sweep asks which `rates` are best, and trials of the same ones cannot tell.
    """
    best = best_trials(scores, number)
    ranked = best_trials(scores, len(scores))
    strangers = [trial for trial in ranked if rates[trial] != rates[ranked[0]]]
    if len(best) > 1 and strangers and len({rates[trial] for trial in best}) == 1:
        best[-1] = strangers[0]
    return best


def confirm_seeds(base_seed: int, number: int) -> list[int]:
    """`number` seeds that the search, whose trials all have `base_seed`, never used."""
    return [base_seed + offset for offset in range(1, number + 1)]


def runs_to_do(
    trials: Sequence[int], seeds: Sequence[int], done: Mapping[tuple[int, int], Any]
) -> list[tuple[int, int]]:
    """The (trial, seed) pairs that are not `done`, seed by seed: after an interruption whole rounds
    are there.
    """
    return [(trial, seed) for seed in seeds for trial in trials if (trial, seed) not in done]


# ---- what the runs show


def compare_candidates(
    trials: Sequence[int],
    seeds: Sequence[int],
    runs: Sequence[ConfirmedRun],
    *,
    group_of: Mapping[str, str],
    costs: Mapping[int, float],
) -> Confirmation | None:
    """The confirmation of those of `trials` of which the run with each of `seeds` is done; None
    where fewer than two are.

    `group_of` is each query's group by its key, `costs` what a trial's training took.
    """
    by_trial = {
        trial: [run for run in runs if run.trial == trial and run.seed in seeds] for trial in trials
    }
    whole = {trial: found for trial, found in by_trial.items() if len(found) == len(seeds)}
    if len(whole) < 2:
        return None
    candidates = [_candidate(trial, found) for trial, found in whole.items()]
    best = max(candidates, key=lambda one: (one.mean, -one.trial))
    groups = [group_of[key] for key in sorted(group_of)]
    comparisons = [
        _comparison(trial, whole[best.trial], found, groups)
        for trial, found in whole.items()
        if trial != best.trial
    ]
    return decide(candidates, comparisons, costs)


def paired_differences(
    best: Sequence[ConfirmedRun], other: Sequence[ConfirmedRun], groups: Sequence[str]
) -> tuple[list[float], list[float], list[str]]:
    """The difference of recall@1 for each common seed; the mean difference for each query that
    every run could read; those queries' groups.
    """
    other_by_seed = {run.seed: run for run in other}
    pairs = [(run, other_by_seed[run.seed]) for run in best if run.seed in other_by_seed]
    by_seed = [one.recall_at_1 - two.recall_at_1 for one, two in pairs]
    whole = [
        index
        for index in range(len(groups))
        if all(BROKEN not in (one.hits[index], two.hits[index]) for one, two in pairs)
    ]
    by_query = [
        fmean(int(one.hits[index]) - int(two.hits[index]) for one, two in pairs) for index in whole
    ]
    return by_seed, by_query, [groups[index] for index in whole]


def decide(
    candidates: Sequence[Candidate], comparisons: Sequence[Comparison], costs: Mapping[int, float]
) -> Confirmation:
    """The confirmation of `candidates`; `comparisons` are of the best one (by mean) with each other
    one, `costs` what a trial's training took.
    """
    ranked = tuple(sorted(candidates, key=lambda one: (-one.mean, one.trial)))
    best = ranked[0]
    tied = (best.trial, *(one.other for one in comparisons if not one.is_apart))
    if len(tied) == 1:
        return Confirmation(
            candidates=ranked,
            outcome=ConfirmationOutcome.WINNER,
            taken=best.trial,
            text=_text_of_winner(best, comparisons),
        )
    taken = min(tied, key=lambda trial: (costs.get(trial, math.inf), trial))
    return Confirmation(
        candidates=ranked,
        outcome=ConfirmationOutcome.TIE,
        taken=taken,
        text=_text_of_tie(best, tied, taken, comparisons),
        tied=tied,
    )


def mean_interval(
    values: Sequence[float],
    *,
    confidence: float = 0.95,
    least: float = -math.inf,
    most: float = math.inf,
) -> Interval:
    """Student's t interval of the mean of at least 2 independent values (runs with other seeds),
    cut at `least` and `most`, beyond which no mean can lie.
    """
    from scipy.special import stdtrit  # a third of a second that most commands need not pay

    assert len(values) >= 2, values
    mean = fmean(values)
    quantile = float(stdtrit(len(values) - 1, (1 + confidence) / 2))
    half = quantile * stdev(values) / math.sqrt(len(values))
    return Interval(mean, max(least, mean - half), min(most, mean + half))


def _candidate(trial: int, runs: Sequence[ConfirmedRun]) -> Candidate:
    interval = mean_interval([run.recall_at_1 for run in runs], least=0.0, most=1.0)
    return Candidate(
        trial,
        tuple(run.seed for run in runs),
        tuple(run.recall_at_1 for run in runs),
        interval.low,
        interval.high,
    )


def _comparison(
    trial: int, best: Sequence[ConfirmedRun], other: Sequence[ConfirmedRun], groups: Sequence[str]
) -> Comparison:
    by_seed, by_query, groups_of_queries = paired_differences(best, other, groups)
    return Comparison(
        trial,
        mean_interval(by_seed, least=-1.0, most=1.0),
        group_interval(by_query, groups_of_queries, least=-1.0, most=1.0),
    )


def _text_of_winner(best: Candidate, comparisons: Sequence[Comparison]) -> str:
    if not comparisons:
        return f"trial {best.trial} was the only candidate: {_figures(best)}"
    nearest = min(comparisons, key=lambda one: one.margin)
    return (
        f"trial {best.trial} wins: {_figures(best)}, better than every other candidate "
        f"on {len(best.seeds)} new seeds; {_difference(nearest)}"
    )


def _text_of_tie(
    best: Candidate, tied: Sequence[int], taken: int, comparisons: Sequence[Comparison]
) -> str:
    nearest = min((one for one in comparisons if not one.is_apart), key=lambda one: one.margin)
    names = ", ".join(str(trial) for trial in tied)
    return (
        f"a tie: trials {names} cannot be told apart on {len(best.seeds)} new seeds (best "
        f"{_figures(best)}; {_difference(nearest)}); taken is trial {taken}, the cheapest of them "
        "to train"
    )


def _figures(candidate: Candidate) -> str:
    return f"recall@1 {candidate.mean:.3f} [{candidate.low:.3f}, {candidate.high:.3f}]"


def _difference(comparison: Comparison) -> str:
    seeds = comparison.over_seeds
    groups = comparison.over_groups
    over_groups = (
        f"fewer than the {MIN_GROUPS} scenes that an interval over scenes needs"
        if groups is None
        else f"[{groups.low:+.3f}, {groups.high:+.3f}] over scenes"
    )
    return (
        f"ahead of trial {comparison.other} by {seeds.value:+.3f}, "
        f"[{seeds.low:+.3f}, {seeds.high:+.3f}] over seeds, {over_groups}"
    )
