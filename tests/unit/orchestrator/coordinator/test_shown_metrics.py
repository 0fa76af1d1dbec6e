"""Which metrics of a trial are metrics in MLflow, and how its runs are named and described."""

from __future__ import annotations

import dataclasses

from orchestrator.coordinator.run_starts import ALWAYS_SHOWN, as_params, trial_start, words_of
from orchestrator.coordinator.shown_metrics import (
    ended_words,
    hidden,
    interval_of,
    shown,
    sweep_words,
)
from orchestrator.trial.messages import TrialView
from orchestrator.trial_state import TrialState
from tests.small_sweep import CONFIG, record

METRICS = {
    "retrieval/recall_at_1": 0.5,
    "retrieval/recall_at_1_low": 0.4,
    "retrieval/recall_at_1_high": 0.6,
    "retrieval/num_queries": 60.0,
    "data/cache_hits": 12.0,
    "data/quarantined": 1.0,
    "waste/queued_seconds": 3.0,
    "waste/share": 0.1,
    "train/loss": float("nan"),
}


def test_counters_are_one_summary_and_what_a_person_acts_on_is_a_metric() -> None:
    names = {"data/cache_hits", "retrieval/num_queries", "waste/queued_seconds"}
    assert hidden(METRICS).keys() == names
    assert shown(METRICS).keys() == METRICS.keys() - names


def test_a_trials_description_says_how_it_ended_and_with_what() -> None:
    view = TrialView(7, {}, state=TrialState.PRUNED, epoch=3, num_epochs=12, objective=0.5)
    view.metrics.update(METRICS)
    view.reason = "rung 3"
    assert ended_words(view, "retrieval/recall_at_1") == (
        "Trial 7 pruned after 3 of 12 epochs: retrieval/recall_at_1 0.500 [0.400, 0.600] (rung 3)."
    )
    assert interval_of({}, "retrieval/recall_at_1") == ""
    running = TrialView(8, {})
    assert sweep_words([view, running], 9, "x") == "Running: 1 of 9 trials have ended."
    view.state = TrialState.FINISHED
    assert sweep_words([view, running], 9, "retrieval/recall_at_1").startswith(
        "Running: 1 of 9 trials have ended. The best so far: Trial 7 finished after 3 of 12"
    )


def test_a_run_is_named_by_what_was_varied() -> None:
    values = {"clip.length": 16, "pretext.playback_rate.rates": "1-2", "training.x": 0.12345}
    assert words_of(values) == "1-2, length 16, x 0.123"


def test_a_trials_parameters_are_what_varies_and_its_config_is_whole() -> None:
    values = {"pretext.slow_motion.upsampling": 4, "pretext.playback_rate.rates": "1-2"}
    spec = dataclasses.replace(record().spec, tags={"prp.videos_hash": "0123"})
    start = trial_start(spec, 7, CONFIG, values)
    assert list(start.params) == [*values, *(one for one in ALWAYS_SHOWN if one not in values)]
    assert start.config == as_params(CONFIG) and len(start.config) > 80
    assert start.title == "0007 1-2, upsampling 4"
    assert (start.datasets[0].source, start.datasets[0].digest) == (spec.data_uri, "0123")
