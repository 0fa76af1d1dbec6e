"""Simulated sweeps: what the product's own functions say of them, where the truth is known.

A query is hit by chance, with log-odds that add up what its scene, the query itself, the
configuration in this scene and on this query, and the luck of a training contribute. All trials of
a sweep have one true recall, except that the first rate set, or all that was trained, has a gain.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrator.comparison import assess, baseline_verdicts
from orchestrator.confirmation import (
    RANDOM_INIT,
    BaselineVerdict,
    Confirmation,
    ConfirmedRun,
    Rules,
    candidates_of,
    confirm_seeds,
    looks_of,
)
from orchestrator.run_model import RunModel
from prp_core.evaluation.intervals import Interval, share_interval

BASE_SEED = 632
PIXELS = ("mean_frame", "mean_absolute_difference")
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(40)
Array = np.ndarray[Any, Any]


@dataclass(frozen=True, kw_only=True)
class World:
    """A corpus and a method: `num_videos` validation videos and `num_test` test videos (None: as
    many) in `num_groups` groups each, the first of which is `first_times` as large as the others,
    trials of rate sets, the true `recall` of what is not better, and the standard deviations of
    what varies, in log-odds.

    `gain` is that of the first rate set over the others, `pretraining` that of all trained
    encoders over random initialisation and pixels, both in recall.
    """

    num_videos: int
    num_groups: int
    num_test: int | None = None
    first_times: int = 1
    num_trials: int = 24
    num_rate_sets: int = 3
    num_candidates: int = 3
    looks: tuple[int, ...] = looks_of(3, 6)
    margin: float = 0.02
    recall: float = 0.4
    gain: float = 0.0
    pretraining: float = 0.0
    scene: float = 0.6
    query: float = 1.0
    config_in_scene: float = 0.35
    config_on_query: float = 0.6
    training: float = 0.13
    run_on_query: float = 0.4

    @property
    def spread(self) -> float:
        """The standard deviation of the log-odds over scenes, queries and configurations."""
        parts = (
            self.scene,
            self.query,
            self.config_in_scene,
            self.config_on_query,
            self.run_on_query,
        )
        return sum(part**2 for part in parts) ** 0.5


@dataclass(frozen=True)
class Configuration:
    """A configuration on one part: `centre` of its log-odds, and the log-odds of each query before
    the luck of a training.
    """

    centre: float
    odds_Q: Array


@dataclass(frozen=True, kw_only=True)
class Said:
    """What was said of a sweep: the rate set that the search's trials name as the winner (empty:
    none), the confirmation, whether it tells rate sets apart, the rates of the trial that was
    taken, and the verdicts on the test part.
    """

    search_winner: str
    confirmation: Confirmation
    rates_apart: bool
    taken_rates: str
    on_test: tuple[BaselineVerdict, ...]


class Part:
    """So many queries of a part, in groups."""

    def __init__(self, world: World, generator: np.random.Generator, number: int) -> None:
        self.world = world
        self._generator = generator
        in_turn = [*[0] * (world.first_times - 1), *range(world.num_groups)]
        self._group_Q = np.sort(generator.permutation(np.resize(in_turn, number)))
        scene_G = generator.normal(0, world.scene, world.num_groups)
        self._ease_Q = scene_G[self._group_Q] + generator.normal(0, world.query, number)
        self.groups = [f"g{group:05d}" for group in self._group_Q]
        self.group_of = {f"q{place:06d}": group for place, group in enumerate(self.groups)}

    def configuration(self, recall: float) -> Configuration:
        """A configuration whose recall over all scenes, queries and trainings is `recall`."""
        world, draw = self.world, self._generator
        in_scene_G = draw.normal(0, world.config_in_scene, world.num_groups)
        on_query_Q = draw.normal(0, world.config_on_query, len(self._group_Q))
        centre = centre_of(recall, (world.spread**2 + world.training**2) ** 0.5)
        return Configuration(centre, centre + self._ease_Q + in_scene_G[self._group_Q] + on_query_Q)

    def hits(self, one: Configuration, luck: float | None = None) -> Array:
        """The hits of a run: (queries,) bool. `luck` of its training in log-odds (None: drawn)."""
        world, draw = self.world, self._generator
        luck = draw.normal(0, world.training) if luck is None else luck
        odds_Q = one.odds_Q + luck + draw.normal(0, world.run_on_query, len(one.odds_Q))
        return draw.random(len(odds_Q)) < 1 / (1 + np.exp(-odds_Q))


def simulate(world: World, seed: int) -> Said:
    """One sweep from the search to the verdicts, by the product's functions."""
    generator = np.random.default_rng([seed, world.num_videos, world.num_groups])
    val = Part(world, generator, world.num_videos)
    test = Part(world, generator, world.num_test or world.num_videos)
    rates = {trial: f"set {trial % world.num_rate_sets}" for trial in range(world.num_trials)}
    truth = {
        trial: world.recall + world.pretraining + (world.gain if name == "set 0" else 0.0)
        for trial, name in rates.items()
    }
    configurations = {trial: val.configuration(truth[trial]) for trial in rates}
    found = {trial: val.hits(one) for trial, one in configurations.items()}
    scores = {trial: float(hits.mean()) for trial, hits in found.items()}
    trials = candidates_of(scores, world.num_candidates, rates)
    # what a training was lucky in, trained or not, shows on both parts
    lucks = {
        trial: generator.normal(0, world.training, (world.looks[-1], 2)).tolist()
        for trial in trials
    }
    runs = [
        run for trial in trials for run in _runs(val, trial, configurations[trial], lucks[trial])
    ]
    rules = Rules(looks=world.looks, margin=world.margin, num_measured=world.num_trials)
    costs = {trial: float(generator.random()) for trial in trials}
    confirmation = assess(
        trials, BASE_SEED, runs, {}, rules, group_of=val.group_of, costs=costs
    ).confirmation
    assert confirmation is not None
    taken = next(one for one in confirmation.candidates if one.trial == confirmation.taken)
    again = test.configuration(truth[taken.trial])
    test_runs = _runs(test, taken.trial, again, lucks[taken.trial][: len(taken.seeds)])
    tied = confirmation.tied or (confirmation.taken,)
    others = [trial for trial in trials if rates[trial] != rates[confirmation.candidates[0].trial]]
    return Said(
        search_winner=_search_winner(scores, rates, found, val.groups),
        confirmation=confirmation,
        rates_apart=bool(others) and not any(trial in tied for trial in others),
        taken_rates=rates[confirmation.taken],
        on_test=baseline_verdicts(
            test_runs, test.groups, luck=confirmation.luck, taken_of=len(trials)
        ),
    )


def printed_intervals(world: World, seed: int) -> Iterator[tuple[str, Interval, float]]:
    """(what it is of, a printed interval, the true value) of configurations that nothing selected:
    every kind of interval that a sweep prints.
    """
    generator = np.random.default_rng([seed, world.num_videos, world.num_groups])
    part = Part(world, generator, world.num_videos)
    one, other = (
        part.configuration(world.recall + gain) for gain in (world.gain + world.pretraining, 0.0)
    )
    luck = generator.normal(0, world.training)
    interval = share_interval(part.hits(one, luck).astype(float).tolist(), part.groups)
    if interval is not None:
        yield "one trained encoder", interval, mean_of(one.centre + luck, world.spread)
    rows = {
        name: [_marks(part.hits(each)) for _ in range(world.looks[0])]
        for name, each in (("one", one), ("other", other), ("third", part.configuration(0.4)))
    }
    model = RunModel(rows, part.groups, trained=list(rows))
    recall = world.recall + world.gain + world.pretraining
    over_both = model.interval("one")
    if over_both is not None:
        yield "a candidate, over seeds and scenes", over_both, recall
    against_own = RunModel(rows, part.groups, trained=["one", "third"])
    for what, difference in (
        ("a candidate less another", model.difference("one", "other")),
        ("a candidate less random initialisation", against_own.difference("one", "other")),
    ):
        if difference.low is not None and difference.high is not None:
            bounds = Interval(difference.value, difference.low, difference.high)
            yield what, bounds, world.gain + world.pretraining


def _runs(
    part: Part, trial: int, one: Configuration, lucks: Sequence[tuple[float, float]]
) -> list[ConfirmedRun]:
    """The confirming runs of a trial on `part`, one for each pair of `lucks` (of the training, of
    the random initialisation of its seed); its baselines are as good as `World.recall`.
    """
    untrained, *of_pixels = (part.configuration(part.world.recall) for _ in range(3))
    pixels = {
        name: _marks(part.hits(each, 0.0)) for name, each in zip(PIXELS, of_pixels, strict=True)
    }
    found = []
    seeds = confirm_seeds(BASE_SEED, len(lucks))
    for seed, (luck, of_random) in zip(seeds, lucks, strict=True):
        hits = part.hits(one, luck)
        baselines = {RANDOM_INIT: _marks(part.hits(untrained, of_random)), **pixels}
        found.append(
            ConfirmedRun(
                trial=trial,
                seed=seed,
                recall_at_1=float(hits.mean()),
                hits=_marks(hits),
                baselines=baselines,
            )
        )
    return found


def _search_winner(
    scores: Mapping[int, float],
    rates: Mapping[int, str],
    found: Mapping[int, Array],
    groups: Sequence[str],
) -> str:
    """The rate set whose best trial's interval lies above all others', as the search's answer."""
    best = {
        name: max((trial for trial in scores if rates[trial] == name), key=scores.__getitem__)
        for name in set(rates.values())
    }
    intervals = {
        name: share_interval(found[trial].astype(float).tolist(), groups)
        for name, trial in best.items()
    }
    leader = max(best, key=lambda name: scores[best[name]])
    lead = intervals.pop(leader)
    rest = list(intervals.values())
    if lead is None or not all(one is not None and lead.is_above(one) for one in rest):
        return ""
    return leader


def mean_of(centre: float, spread: float) -> float:
    """The mean of the probability whose log-odds are normal with `centre` and `spread`."""
    values = 1 / (1 + np.exp(-(centre + spread * NODES)))
    return float((WEIGHTS * values).sum() / WEIGHTS.sum())


@functools.cache
def centre_of(recall: float, spread: float) -> float:
    """The centre at which `mean_of` is `recall`."""
    low, high = -20.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if mean_of(middle, spread) < recall else (low, middle)
    return (low + high) / 2


def _marks(hits_Q: Array) -> str:
    return (hits_Q.astype(np.uint8) + ord("0")).tobytes().decode()
