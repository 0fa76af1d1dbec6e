"""The answer of a sweep: who wins, what is a tie, and the notes that qualify it."""

from __future__ import annotations

import dataclasses
import math

import pytest

from orchestrator.config.budget_config import BudgetConfig
from orchestrator.report import answer
from orchestrator.report.answer_sections import answer_section
from orchestrator.report.descriptions import sweep_description
from orchestrator.report.detail_sections import trials_table
from orchestrator.report.findings import Outcome
from orchestrator.report.record import SweepRecord
from orchestrator.trial_state import TrialState
from tests.small_sweep import (
    ALL_TIED,
    APART,
    BELOW,
    CONFIG,
    CONFIRMED,
    ONE,
    OVERLAPPING,
    SAME_RATES,
    THREE,
    TIED,
    TIED_SETS,
    TOO_FEW,
    TRIALS,
    UNTRAINED,
    WON,
    record,
    trial,
)

EXTENDED = dataclasses.replace(trial(2, "1-2", 0.9), continues=0)  # trained for longer

# (the record, the outcome, part of the headline, part of the notes)
ANSWERS = [
    (record(), Outcome.NONE, "No trial has finished yet: 0 of 8 ended", ""),
    (
        record(trial(0, "1-2", 0.3, TrialState.PRUNED), trial(1, "1-4", state=TrialState.RUNNING)),
        Outcome.NONE,
        "1 of 8 ended",
        "",
    ),
    (
        record(trial(0, "1-2", 0.5)),
        Outcome.ALONE,
        "Only rates 1-2 have a finished trial: trial 0 reaches recall@1 0.500 [0.431, 0.569]",
        "one trial",
    ),
    (
        record(trial(0, "1-2", 0.5), trial(1, "1-2", 0.6)),
        Outcome.ALONE,
        "trial 1 reaches",
        "the best of 2 finished trials",
    ),
    (
        record(trial(0, "1-2", 0.3), trial(1, "1-4", 0.5)),
        Outcome.WINNER,
        "Rates 1-4 lead: trial 1 reaches",
        "Not confirmed",
    ),
    (
        record(trial(0, "1-2", 0.3), trial(1, "1-4", 0.5), EXTENDED),
        Outcome.WINNER,
        "Rates 1-4 lead: trial 1 reaches",
        "",
    ),
    (
        record(trial(0, "1-2", 0.45), trial(1, "1-4", 0.5)),
        Outcome.TIE,
        "A tie: rates 1-4 lead with recall@1 0.500",
        "Not confirmed",
    ),
    (
        record(trial(0, "2-4", 0.1), trial(1, "1-2", 0.1), baselines=UNTRAINED),
        Outcome.TIE,
        "A tie: rates 2-4 lead with recall@1 0.100 [0.031, 0.169] (trial 0), below random "
        "initialisation (0.300), but on ",
        "Not confirmed",
    ),
    (
        record(
            trial(0, "1-2", 0.3, metrics={}),
            trial(1, "1-4", 0.5, metrics={}),
            num_val=20,
            num_groups=7,
        ),
        Outcome.TIE,
        "but on 20 videos they are not distinguishable from 1-2 (no intervals: 7 groups of "
        "validation videos, and an interval needs 8).",
        "",
    ),
    (
        record(trial(0, "1-2", 0.9, TrialState.PRUNED), trial(1, "1-4", 0.5)),
        Outcome.ALONE,
        "Only rates 1-4",
        "",
    ),
    (
        record(trial(0, "1-2", 0.5), baselines=UNTRAINED),
        Outcome.ALONE,
        "",
        "untrained reaches 0.300 [0.240, 0.360]: it is better on the videos that it was selected "
        "by, which is no evidence yet that pretraining helps; the test part",
    ),
    (
        record(trial(0, "1-2", 0.1), baselines=UNTRAINED),
        Outcome.ALONE,
        "reaches recall@1 0.100 [0.031, 0.169], below random initialisation (0.300).",
        "untrained reaches 0.300 [0.240, 0.360]: with this pretraining it is worse. Chance",
    ),
    (
        record(trial(0, "1-2", 0.35), baselines=UNTRAINED),
        Outcome.ALONE,
        "",
        "so there is no evidence that pretraining helps. Chance level: 0.167.",
    ),
    (
        record(*TRIALS, confirmation=CONFIRMED),
        Outcome.WINNER,
        "Trial 0 reaches recall@1 0.550 [0.400, 0.700] on 2 new seeds, the only candidate; its "
        "rates, 1-2, were compared with no others.",
        "On the test part, which was not used for any selection, trial 0 reaches recall@1 0.500 "
        "[0.400, 0.600], fine-tuned recognition 0.700. "
        "The same encoder untrained reaches 0.200 there: one seed each, so that the two are not "
        "compared. Chance level: 0.167.",
    ),
    (
        record(*TRIALS, confirmation=WON),
        Outcome.WINNER,
        "on 2 new seeds, significantly above every other candidate (next 1-4, trial 1, 0.500 "
        "[0.400, 0.600]).",
        "",
    ),
    (
        record(*TRIALS, confirmation=TIED),
        Outcome.TIE,
        "A tie: on 2 new seeds rates 1-2 (trial 0) and 1-4 (trial 1) are not distinguishable: "
        "recall@1 0.550 [0.400, 0.700] and 0.500 [0.400, 0.600].",
        "",
    ),
    (
        record(*TRIALS, confirmation=dataclasses.replace(WON, candidates=(ONE, THREE))),
        Outcome.WINNER,
        "Trial 0 reaches recall@1 0.550 [0.400, 0.700] on 2 new seeds, significantly above every "
        "other candidate (next 1-2, trial 2, 0.350 [0.200, 0.500]); its rates, 1-2, were compared "
        "with no others.",
        "",
    ),
    (
        record(TRIALS[0], baselines={"baseline/random_init/retrieval/recall_at_1": math.nan}),
        Outcome.ALONE,
        "Only rates 1-2",
        "untrained reaches is not a number: it is not compared. Not confirmed: one trial with one "
        "seed, measured on",
    ),
    (
        record(*TRIALS, confirmation=TIED_SETS, baselines=UNTRAINED),
        Outcome.TIE,
        "A tie: on 2 new seeds trial 0 and trial 2, both with rates 1-2, are not "
        "distinguishable; no candidate had other rates: recall@1 0.550",
        "The same encoder untrained reaches 0.300",
    ),
    (
        record(*TRIALS, confirmation=SAME_RATES),
        Outcome.WINNER,
        "Rates 1-2 are best: trial 0 reaches recall@1 0.550 [0.400, 0.700] on 2 new "
        "seeds, significantly above every candidate with other rates "
        "(next 1-4, trial 1, 0.500 [0.400, 0.600]); trial 2, with the same rates, "
        "is not distinguishable from it.",
        "",
    ),
    (
        record(*TRIALS, confirmation=OVERLAPPING),
        Outcome.WINNER,
        "compared with no others; on the test part trial 0 is not told apart from random "
        "initialisation (+0.050 [-0.050, +0.150]) and pixels' mean frame (+0.090 [-0.010, "
        "+0.190]).",
        "untrained reaches 0.200 there: there is no evidence that pretraining helps.",
    ),
    (
        record(*TRIALS, confirmation=APART),
        Outcome.WINNER,
        "on the test part trial 0 is better than random initialisation (+0.300 [+0.200, +0.400]) "
        "and worse than pixels' mean frame (-0.200 [-0.300, -0.100]).",
        "untrained reaches 0.200 there: pretraining helps.",
    ),
    (
        record(*TRIALS, confirmation=BELOW),
        Outcome.WINNER,
        "is better than pixels' mean frame (+0.200 [+0.100, +0.300]) and worse than random "
        "initialisation (-0.200 [-0.300, -0.100]).",
        "there: with this pretraining it is worse.",
    ),
    (
        record(*TRIALS, confirmation=TOO_FEW),
        Outcome.WINNER,
        "trial 0 is not comparable with random initialisation (-0.200) (fewer than 8 groups of "
        "videos).",
        "fewer than 8 groups of videos are too few to compare",
    ),
    (
        record(*TRIALS, confirmation=dataclasses.replace(APART, test={}, is_on_test=False)),
        Outcome.WINNER,
        "on the validation videos trial 0 is better than random initialisation",
        "",
    ),
    (
        record(*TRIALS, confirmation=ALL_TIED),
        Outcome.TIE,
        "rates 1-2 (trial 0), 1-4 (trial 1) and 1-2 (trial 2) are not distinguishable",
        "",
    ),
]


NOT_A_NUMBER = trial(3, "2-4")
PRUNED, FAILED = trial(4, "1-8", 0.2, TrialState.PRUNED), trial(5, "1-8", state=TrialState.FAILED)


@pytest.mark.parametrize(
    ("found", "headline", "left_out"),
    [
        (record(*TRIALS), "A tie", ""),
        (
            record(TRIALS[0], NOT_A_NUMBER),
            "Only rates 1-2 have a finished trial with a figure: ",
            "Left out: rates 2-4 (1 finished), of which no trial has finished with a figure; trial "
            "3, whose recall@1 is not a number.",
        ),
        (
            record(NOT_A_NUMBER),
            "No trial has finished with a figure yet: 1 of 8 ended.",
            "Left out: trial 3, whose recall@1 is not a number.",
        ),
        (
            record(*TRIALS, PRUNED, FAILED, EXTENDED),
            "A tie",
            "Left out: rates 1-8 (1 pruned, 1 failed), of which no trial has finished; trial 2, "
            "which trained on from another trial for more epochs.",
        ),
        (
            record(
                *TRIALS,
                unfit=(
                    ({"pretext.playback_rate.rates": "8-16"}, "16 times 16 frames are too long"),
                    ({"pretext.playback_rate.rates": "1-2"}, "these values were tried before"),
                ),
            ),
            "A tie",
            "Left out: rates 8-16, which could not be trained (16 times 16 frames are too long).",
        ),
        (
            record(trial(0, "1-2", 0.5, metrics={"retrieval/num_broken": 1.0})),
            "Only rates 1-2 have a finished trial: ",
            "Left out: 1 video that could not be read when trial 0 was measured.",
        ),
        (
            record(
                *TRIALS,
                confirmation=dataclasses.replace(
                    WON, lost={7: "DivergedError: nan"}, num_unread=3, num_uncovered=2
                ),
            ),
            "Rates 1-2 are best",
            "Left out: trial 7, a candidate of which a confirming run failed (DivergedError: nan); "
            "3 videos that not every confirming run could read; 2 more confirming runs, which the "
            "budget did not cover.",
        ),
    ],
)
def test_what_is_not_compared_is_said_in_one_sentence_for_all_that_show_the_answer(
    found: SweepRecord, headline: str, left_out: str
) -> None:
    said = answer.answer(found)
    assert said.headline.startswith(headline)
    assert [note for note in said.notes if note.startswith("Left out")] == [left_out][
        : bool(left_out)
    ]
    assert left_out in sweep_description(found, said)
    assert list(answer_section(found).notes) == list(said.notes)
    if NOT_A_NUMBER in found.trials:
        assert "not a number" in trials_table(found).rows[-1].cells


@pytest.mark.parametrize(
    ("found", "outcome", "headline", "note"),
    ANSWERS,
    ids=[f"{row[1]}-{number}" for number, row in enumerate(ANSWERS)],
)
def test_the_answer(found: SweepRecord, outcome: Outcome, headline: str, note: str) -> None:
    said = answer.answer(found)
    assert said.outcome is outcome
    assert headline in said.headline
    assert note in " ".join(said.notes)
    assert ("Not confirmed" in " ".join(said.notes)) == (
        found.confirmation is None and outcome != Outcome.NONE
    )


def test_a_budget_that_ended_the_sweep_is_said() -> None:
    limited = dataclasses.replace(CONFIG, budget=BudgetConfig(gpu_hours=40, usd=2.5))
    ended = record(trial(0, "1-2", 0.5), config=limited, baselines=UNTRAINED)
    assert answer_section(ended).progress == (
        "1 of 8 trials (1 finished) · ended by its budget of 40 GPU-hours or 2.5 USD"
    )
    running = dataclasses.replace(
        ended, trials=(*ended.trials, trial(1, "1-2", state=TrialState.RUNNING))
    )
    for other in (
        dataclasses.replace(ended, baselines={}),
        dataclasses.replace(ended, config=CONFIG),
        running,
    ):
        assert "budget" not in answer_section(other).progress


def test_the_trial_that_a_confirmation_took_is_the_one_to_reproduce() -> None:
    found = record(*TRIALS, confirmation=TIED_SETS)
    assert found.best is not None and found.best.number == 1
    assert found.taken is not None and found.taken.number == 2
    assert record(*TRIALS).taken == found.best
    said = answer.leaderboard_answer(found)
    assert said.outcome is Outcome.TIE and "rates 1-4 lead" in said.headline
