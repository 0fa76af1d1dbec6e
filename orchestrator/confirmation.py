"""Confirming the best of a search: which trials, with which seeds, and what the runs say. Pure;
`confirm_run.py` runs it.

The search's own figures flatter: the best of many was lucky in its seed and in its validation
videos. So the best few are trained again at full length with seeds that the search never used, the
same ones for each of them, and compared in pairs: with the same seed two candidates see the videos
in the same order, and every query is asked of both.

The rule: a candidate beats another when the mean paired difference of recall@1 lies above 0 by both
of its 95 % intervals: over seeds (Student's t; would it be so with other seeds?) and over groups of
queries (bootstrap; with other scenes?). The best is named the winner only when it beats every other
candidate. Otherwise those that it does not beat are tied with it, and the cheapest of them is
taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

BROKEN = "-"


@dataclass(frozen=True, kw_only=True)
class ConfirmedRun:
    """What one confirming run found: `hits` has a character for each query in the order of their
    keys: 1, 0, or - for a broken video.
    """

    trial: int
    seed: int
    recall_at_1: float
    hits: str
    run_id: str = ""


@dataclass(frozen=True)
class Bounds:
    """A mean with its interval."""

    mean: float
    low: float
    high: float


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
    """The best candidate against another one: the paired difference over seeds and over groups of
    queries.
    """

    other: int
    over_seeds: Bounds
    over_groups: Bounds

    @property
    def is_apart(self) -> bool:
        """Whether the best beats the other one."""
        return min(self.over_seeds.low, self.over_groups.low) > 0


@dataclass(frozen=True)
class Confirmation:
    """The verdict: ``winner`` or ``tie``, the trial that is `taken`, and why, in one sentence."""

    candidates: tuple[Candidate, ...]
    verdict: str
    taken: int
    text: str
    comparisons: tuple[Comparison, ...] = ()
    tied: tuple[int, ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        """As it is kept with the study; candidates stand best first."""
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
            "verdict": self.verdict,
            "taken": self.taken,
            "tied": list(self.tied),
            "text": self.text,
        }


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
    """The verdict on `candidates`; `comparisons` are of the best one (by mean) with each other one,
    `costs` what a trial's training took.
    """
    ranked = tuple(sorted(candidates, key=lambda one: (-one.mean, one.trial)))
    best = ranked[0]
    num_seeds = len(ranked[0].seeds)
    tied = [best.trial, *(one.other for one in comparisons if not one.is_apart)]
    if len(ranked) == 1:
        return Confirmation(
            ranked,
            "winner",
            best.trial,
            f"trial {best.trial} was the only candidate: {_figures(best)}",
            (),
        )
    if len(tied) == 1:
        nearest = min(comparisons, key=lambda one: min(one.over_seeds.low, one.over_groups.low))
        text = (
            f"trial {best.trial} wins: {_figures(best)}, better than every other candidate "
            f"on {num_seeds} new seeds; {_difference(nearest)}"
        )
        return Confirmation(ranked, "winner", best.trial, text, tuple(comparisons))
    taken = min(tied, key=lambda trial: (costs.get(trial, float("inf")), trial))
    nearest = min(
        (one for one in comparisons if not one.is_apart),
        key=lambda one: min(one.over_seeds.low, one.over_groups.low),
    )
    names = ", ".join(str(trial) for trial in tied)
    text = (
        f"a tie: trials {names} cannot be told apart on {num_seeds} new seeds (best "
        f"{_figures(best)}; {_difference(nearest)}); "
    )
    return Confirmation(
        ranked,
        "tie",
        taken,
        text + f"taken is trial {taken}, the cheapest of them to train",
        tuple(comparisons),
        tuple(tied),
    )


def _figures(candidate: Candidate) -> str:
    return f"recall@1 {candidate.mean:.3f} [{candidate.low:.3f}, {candidate.high:.3f}]"


def _difference(comparison: Comparison) -> str:
    seeds = comparison.over_seeds
    groups = comparison.over_groups
    return (
        f"ahead of trial {comparison.other} by {seeds.mean:+.3f}, "
        f"[{seeds.low:+.3f}, {seeds.high:+.3f}] over seeds, [{groups.low:+.3f}, "
        f"{groups.high:+.3f}] over scenes"
    )
