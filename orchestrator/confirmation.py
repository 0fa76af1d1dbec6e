"""The confirmation of a sweep: which trials are trained again, with which seeds, and its result.

Pure; `sweep/confirm_run.py` runs it, `comparison.py` compares the runs. The search's own figures
flatter: the best of many was lucky in its seed and in its validation videos. So the best few are
trained again at full length with seeds that the search never used, the same ones for each of them,
and compared in one model of all runs (`run_model.py`).

The rule: a candidate beats another when the interval of the difference of their recall@1, over new
seeds and new scenes, lies above 0. Those that are beaten get no more runs; the others get more
seeds, in steps that double, until one has beaten every other, or until it does not matter which is
taken (`Rules.margin`), or until `Rules.looks` is used up. The probability of error that is allowed
is spent over these looks as O'Brien and Fleming do (Lan and DeMets 1983), so that looking often
does not name a winner by luck. Without a winner the cheapest is taken of those whose expected loss
is within the margin.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from statistics import NormalDist, fmean, stdev
from typing import Any

from orchestrator.run_model import NO_LUCK, Difference, Luck
from prp_core.evaluation.intervals import Interval, students_quantile

OBJECTIVE = "retrieval/recall_at_1"
ERROR = 0.05
RANDOM_INIT = "random_init"


@dataclass(frozen=True, kw_only=True)
class ConfirmedRun:
    """The result of one confirming run: `hits` has a character for each query in the order of
    their keys: 1, 0, or - for a broken video. `baselines` has the same of each baseline by name, of
    random initialisation with the run's own seed.
    """

    trial: int
    seed: int
    recall_at_1: float
    hits: str
    baselines: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Candidate:
    """A candidate's seeds and their recall@1 on the videos that every run read, with the interval
    of the mean over new seeds and new scenes (None: too few groups of videos), the probability that
    it is the best candidate, and its expected loss against the best, in recall@1.
    """

    trial: int
    seeds: tuple[int, ...]
    recall_at_1: tuple[float, ...]
    low: float | None
    high: float | None
    prob_best: float | None = None
    expected_loss: float | None = None

    @property
    def mean(self) -> float:
        """Over seeds."""
        return fmean(self.recall_at_1)


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How candidates are compared: with how many seeds at each look, up to which expected loss in
    recall@1 a cheaper one is as good, and of how many trials they were selected as the best.
    """

    looks: tuple[int, ...]
    margin: float = 0.0
    num_measured: int = 1


@dataclass(frozen=True, kw_only=True)
class BaselineVerdict:
    """How the trial that was taken compares with the baseline `name`, whose recall@1 is `recall`,
    on the same queries.
    """

    name: str
    recall: float
    difference: Difference

    def as_json(self) -> dict[str, Any]:
        """As it is kept with the study."""
        return {
            "name": self.name,
            "recall": self.recall,
            "difference": self.difference.as_json(),
        }


def read_verdicts(rows: Sequence[Mapping[str, Any]]) -> tuple[BaselineVerdict, ...]:
    """The verdicts in notes of `BaselineVerdict.as_json`."""
    return tuple(
        BaselineVerdict(
            name=row["name"], recall=row["recall"], difference=Difference(**row["difference"])
        )
        for row in rows
    )


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

    `baselines` compares the one that is taken with no pretraining and with pixels; `luck` is that
    of the other candidates' training, for comparisons on other videos. `is_decided`: more seeds
    would not change what is taken by more than the margin. `num_unread` queries count for none,
    because not every run could read them.
    """

    candidates: tuple[Candidate, ...]
    outcome: ConfirmationOutcome
    taken: int
    text: str
    tied: tuple[int, ...] = ()
    baselines: tuple[BaselineVerdict, ...] = ()
    luck: Luck = NO_LUCK
    is_decided: bool = True
    num_unread: int = 0

    def as_json(self) -> dict[str, Any]:
        """As it is kept with the study."""
        candidates = [
            {
                "trial": one.trial,
                "seeds": list(one.seeds),
                "recall_at_1": list(one.recall_at_1),
                "low": one.low,
                "high": one.high,
                "prob_best": one.prob_best,
                "expected_loss": one.expected_loss,
            }
            for one in self.candidates
        ]
        return {
            "candidates": candidates,
            "outcome": self.outcome,
            "taken": self.taken,
            "tied": list(self.tied),
            "text": self.text,
            "baselines": [one.as_json() for one in self.baselines],
            "luck": asdict(self.luck),
            "num_unread": self.num_unread,
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


def looks_of(num_seeds: int, max_seeds: int) -> tuple[int, ...]:
    """How many seeds each candidate has at each look: `num_seeds`, then doubled, up to
    `max_seeds`.
    """
    looks = [num_seeds]
    while looks[-1] < max_seeds:
        looks.append(min(2 * looks[-1], max_seeds))
    return tuple(looks)


def error_levels(looks: Sequence[int], error: float = ERROR) -> list[float]:
    """The probability of error that each look may spend; their sum is `error`.

    The spending function of O'Brien and Fleming: little at first, nearly all at the last look.
    """
    normal = NormalDist()
    quantile = normal.inv_cdf(1 - error / 2)
    spent = [2 - 2 * normal.cdf(quantile / math.sqrt(look / looks[-1])) for look in looks]
    return [level - before for level, before in zip(spent, [0.0, *spent], strict=False)]


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
    assert len(values) >= 2, values
    mean = fmean(values)
    quantile = students_quantile(len(values) - 1, (1 + confidence) / 2)
    half = quantile * stdev(values) / math.sqrt(len(values))
    return Interval(mean, max(least, mean - half), min(most, mean + half))
