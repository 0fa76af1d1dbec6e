"""Warm start: which past trials count, which are hints, and that none is this sweep's."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from orchestrator.config.run_config import RunConfig, flatten, with_values
from orchestrator.search.pruner import PruningRule
from orchestrator.search.space import Fit
from orchestrator.search.study import SweepStudy
from orchestrator.search.warm_start import WarmStart, plan_warm_start
from orchestrator.tracking.past_trials import PastTrial
from orchestrator.trial_state import TrialState

RATES, WEIGHT, LENGTH = (
    "pretext.playback_rate.rates",
    "pretext.playback_rate.loss_weight",
    "clip.length",
)


def space(trial: Any) -> None:
    trial.suggest_categorical(RATES, ["1-2", "1-2-4"])
    trial.suggest_float(WEIGHT, 0.01, 10.0, log=True)
    trial.suggest_categorical(LENGTH, [8, 16])


def params(**values: Any) -> dict[str, str]:
    config = with_values(
        RunConfig(), {name.replace("__", "."): value for name, value in values.items()}
    )
    return {path: str(value) for path, value in flatten(config).items()}


PAST = PastTrial(
    "earlier",
    3,
    "finished",
    "p1",
    params(),
    {RATES: "1-2", WEIGHT: 0.5, LENGTH: 8},
    {1: 0.4, 2: 0.6},
)


@pytest.mark.parametrize(
    ("what", "past", "counted", "hints", "outside"),
    [
        ("measured and trained alike", PAST, 1, 0, 0),
        (
            "pruned ones count too",
            dataclasses.replace(PAST, state=TrialState.PRUNED, rungs={1: 0.4}),
            1,
            0,
            0,
        ),
        ("another protocol: a hint", dataclasses.replace(PAST, protocol_hash="p2"), 0, 1, 0),
        (
            "another protocol and pruned: of no use",
            dataclasses.replace(PAST, protocol_hash="p2", state=TrialState.PRUNED),
            0,
            0,
            0,
        ),
        (
            "another encoder: a hint",
            dataclasses.replace(PAST, params=params(encoder__name="c3d")),
            0,
            1,
            0,
        ),
        (
            "another number of epochs: a hint",
            dataclasses.replace(PAST, params=params(training__num_epochs=9)),
            0,
            1,
            0,
        ),
        (
            "other workers: alike",
            dataclasses.replace(PAST, params=params(resources__num_workers=2)),
            1,
            0,
            0,
        ),
        (
            "a rate set that is not offered",
            dataclasses.replace(PAST, sampled={**PAST.sampled, RATES: "1-3"}),
            0,
            0,
            1,
        ),
        (
            "a weight out of range",
            dataclasses.replace(PAST, sampled={**PAST.sampled, WEIGHT: 11.0}),
            0,
            0,
            1,
        ),
        (
            "a length that was not varied then",
            dataclasses.replace(PAST, sampled={RATES: "1-2", WEIGHT: 0.5}),
            1,
            0,
            0,
        ),  # it was 16, as by default
        ("nothing was measured", dataclasses.replace(PAST, rungs={}), 0, 0, 0),
    ],
)
def test_what_a_past_trial_is_worth(
    what: str, past: PastTrial, counted: int, hints: int, outside: int
) -> None:
    warm = plan_warm_start([past], space, params(), "p1")
    assert (len(warm.counted), len(warm.hints), warm.num_outside) == (counted, hints, outside), what


def test_only_the_best_hints_are_kept_best_first() -> None:
    records = [
        dataclasses.replace(PAST, number=number, protocol_hash="p2", rungs={2: number / 10})
        for number in range(6)
    ]
    assert [past.number for past, _ in plan_warm_start(records, space, params(), "p1").hints] == [
        5,
        4,
        3,
    ]


def test_figures_of_two_protocols_are_not_ranked_together_and_what_is_left_is_counted() -> None:
    records = [
        dataclasses.replace(PAST, number=number, protocol_hash=f"p{2 + number % 2}", rungs={2: one})
        for number, one in enumerate((0.9, 0.1, 0.8, 0.2, 0.7, 0.3))
    ]
    records.append(dataclasses.replace(PAST, number=9, rungs={}))
    warm = plan_warm_start(records, space, params(), "p1")
    assert [past.number for past, _ in warm.hints] == [0, 5, 2]
    assert warm.line() == (
        "warm start: 0 trials of 1 earlier sweep count as measured, 3 measured or trained "
        "otherwise are tried first, 0 lie outside this space, 4 others are not used"
    )


def test_the_line_says_what_was_found() -> None:
    warm = plan_warm_start(
        [PAST, dataclasses.replace(PAST, protocol_hash="p2", sweep_id="older")],
        space,
        params(),
        "p1",
    )
    assert warm.line() == (
        "warm start: 1 trials of 2 earlier sweeps count as measured, 1 measured or "
        "trained otherwise are tried first, 0 lie outside this space"
    )
    assert (
        WarmStart(num_outside=2).line()
        == "warm start: nothing of use found (2 past trials lie outside this space)"
    )


def test_warm_trials_teach_and_are_compared_with_but_are_not_this_sweeps() -> None:
    study = SweepStudy(None, "sweep", space, seed=1, num_startup_trials=2)
    hint = dataclasses.replace(
        PAST, number=4, protocol_hash="p2", sampled={RATES: "1-2-4", WEIGHT: 0.7, LENGTH: 16}
    )
    warm = plan_warm_start([PAST, hint], space, params(), "p1")
    study.warm_up(warm)
    study.warm_up(warm)  # a server that was started again
    assert study.num_told() == 0
    assert [trial.user_attrs.get("warm") for trial in study.trials()] == ["earlier/3", None]
    first = study.ask(lambda values: Fit(True, ""))
    assert first.values == {RATES: "1-2-4", WEIGHT: 0.7, LENGTH: 16}, "the hint is tried first"
    study.report(first.number, 1, 0.3)
    assert not study.decide(first.number, 1, PruningRule("asha", 2), is_last_rung=False).go_on, (
        "0.4 was measured before"
    )
    study.tell_pruned(first.number, "")
    assert study.num_told() == 1
