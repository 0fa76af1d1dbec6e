"""A sweep's record from plain values: trials, a ledger and confirmations."""

from __future__ import annotations

import dataclasses
import math

from orchestrator.config.run_config import load_config, to_tree
from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.confirmation import BaselineVerdict, ConfirmationOutcome
from orchestrator.cost.ledger import LedgerEntry
from orchestrator.report.record import (
    Candidate,
    ConfirmationRecord,
    DataFacts,
    SweepRecord,
    TrialRecord,
)
from orchestrator.run_model import Difference
from orchestrator.trial_state import TrialState

CONFIG = load_config("demo", ["sweep.num_trials=8"])


RECALL = "retrieval/recall_at_1"


def with_bounds(name: str, value: float, half: float = 0.069) -> dict[str, float]:
    """A metric and the bounds of its interval, as an evaluation gives them."""
    return {name: value, f"{name}_low": value - half, f"{name}_high": value + half}


def trial(
    number: int,
    rates: str,
    value: float = math.nan,
    state: TrialState = TrialState.FINISHED,
    **changes: object,
) -> TrialRecord:
    rungs = (
        {}
        if math.isnan(value)
        else {3: value / 2, 12: value}
        if state == TrialState.FINISHED
        else {3: value}
    )
    made = TrialRecord(
        number=number,
        values={"pretext.playback_rate.rates": rates},
        state=state,
        reason="",
        rungs=rungs,
        epoch=max(rungs, default=0),
        num_epochs=12,
        objective=value,
        metrics={} if math.isnan(value) else with_bounds(RECALL, value),
        started=100.0,
        ended=100.0 + 3600 * (number + 1),
        run_id="",
        rates=rates,
        gpus=0.0,
        cpus=2.0,
    )
    return dataclasses.replace(made, **changes)


def record(
    *trials: TrialRecord, num_val: int = 200, num_groups: int = 40, **changes: object
) -> SweepRecord:
    spec = SweepSpec(
        sweep_id="s",
        config=to_tree(CONFIG),
        storage_uri="/x",
        tracking_uri="",
        data_uri="",
        manifest_uri="",
        tags={},
    )
    made = SweepRecord(
        spec=spec,
        config=CONFIG,
        trials=trials,
        unfit=(),
        baselines={},
        parent_run_id="",
        parent_state="",
        tags={},
        data=DataFacts("h", 400, num_val, 100, 6, num_groups, {}, 1 / 6),
        ledger=None,
        confirmation=None,
    )
    return dataclasses.replace(made, **changes)


UNTRAINED = with_bounds("baseline/random_init/retrieval/recall_at_1", 0.3, 0.06)


TEST_PART = {
    "test/retrieval/recall_at_1": 0.5,
    "test/retrieval/recall_at_1_low": 0.4,
    "test/retrieval/recall_at_1_high": 0.6,
    "test/retrieval/recall_at_5": 0.8,
    "test/retrieval/num_broken": 2.0,
    "test/recognition/accuracy": 0.7,
    "test/baseline/random_init/retrieval/recall_at_1": 0.2,
}


def candidate(number: int, *scores: float) -> Candidate:
    return Candidate(
        number, tuple(range(1, len(scores) + 1)), scores, min(scores) - 0.1, max(scores) + 0.1
    )


ONE, TWO, THREE = candidate(0, 0.5, 0.6), candidate(1, 0.5, 0.5), candidate(2, 0.3, 0.4)


TRIALS = trial(0, "1-2", 0.5), trial(1, "1-4", 0.6), trial(2, "1-2", 0.4)


CONFIRMED = ConfirmationRecord(
    (ONE,), ConfirmationOutcome.WINNER, 0, (), "trial 0 was the only candidate", TEST_PART
)


WON = ConfirmationRecord((ONE, TWO, THREE), ConfirmationOutcome.WINNER, 0, (), "trial 0 wins", {})


TIED = ConfirmationRecord((ONE, TWO, THREE), ConfirmationOutcome.TIE, 1, (0, 1), "a tie", {})


TIED_SETS = ConfirmationRecord((ONE, THREE), ConfirmationOutcome.TIE, 2, (0, 2), "a tie", {})


SAME_RATES = ConfirmationRecord((ONE, TWO, THREE), ConfirmationOutcome.TIE, 2, (0, 2), "a tie", {})


OF_UNTRAINED = "test/baseline/random_init/retrieval/recall_at_1"


def verdict(name: str, value: float, half: float | None = 0.1) -> BaselineVerdict:
    bounds = {} if half is None else {"low": value - half, "high": value + half}
    return BaselineVerdict(name=name, recall=0.2, difference=Difference(value=value, **bounds))


OVERLAPPING, APART, BELOW, TOO_FEW = (
    dataclasses.replace(CONFIRMED, verdicts=verdicts, is_on_test=True)
    for verdicts in (
        (verdict("random_init", 0.05), verdict("mean_frame", 0.09)),
        (verdict("random_init", 0.3), verdict("mean_frame", -0.2)),
        (verdict("random_init", -0.2), verdict("mean_frame", 0.2)),
        (verdict("random_init", -0.2, None),),
    )
)


ALL_TIED = ConfirmationRecord((ONE, TWO, THREE), ConfirmationOutcome.TIE, 1, (0, 1, 2), "a tie", {})


def entry(trial: int, **fields: object) -> LedgerEntry:
    """A slice of the ledger; its price is known unless said otherwise."""
    known = {
        "rung_epoch": 3,
        "attempt": 1,
        "started": 0.0,
        "ended": 1.0,
        "gpus": 0.0,
        "cpus": 0.0,
        "price": "a price list",
    }
    return LedgerEntry(trial=trial, **{**known, **fields})  # type: ignore[arg-type]


LEDGER = (
    entry(0, gpus=2, cpus=8, busy_seconds=3600, data_wait_seconds=360, usd=6.0),
    entry(
        1, gpus=1, cpus=4, busy_seconds=3600, recomputed_seconds=900, queued_seconds=1800, usd=3.0
    ),
    entry(1, rung_epoch=6, gpus=1, busy_seconds=1800, after_pruning_seconds=450, usd=1.5),
    entry(0, rung_epoch=6, gpus=1, queued_seconds=60),
    entry(1, rung_epoch=3, kind="evaluation", gpus=0.5, busy_seconds=1800, usd=1.0),
    entry(1, rung_epoch=3, kind="evaluation", gpus=0.5, busy_seconds=1800, usd=1.0),
    entry(0, rung_epoch=6, kind="confirm", seed=1, gpus=1, busy_seconds=1800, usd=1.5),
    entry(0, rung_epoch=6, kind="confirm", seed=2, gpus=1, busy_seconds=1800, usd=1.5),
)
