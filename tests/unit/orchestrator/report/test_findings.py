"""What the report may say: the answer, intervals, cost, waste and chance, each decided from plain
records.
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest

from orchestrator.config.budget_config import BudgetConfig
from orchestrator.config.run_config import load_config, to_tree
from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.cost.ledger import LedgerEntry
from orchestrator.report import confirmed, findings, formatting, markup, sections, spending
from orchestrator.report.record import (
    Candidate,
    Confirmation,
    DataFacts,
    SweepRecord,
    TrialRecord,
    chance_level,
    data_facts,
    kept_ledger,
    read_confirmation,
)
from orchestrator.trial_state import TrialState
from prp_core.data.manifest import Parts, VideoRecord
from tests.recorded_sweep import NUM_VAL_GROUPS, manifest_of

CONFIG = load_config("demo")


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
        metrics={},
        started=100.0,
        ended=100.0 + 3600 * (number + 1),
        run_id="",
        rates=rates,
        gpus=0.0,
        cpus=2.0,
    )
    return dataclasses.replace(made, **changes)


def record(*trials: TrialRecord, num_val: int = 200, **changes: object) -> SweepRecord:
    spec = SweepSpec(
        sweep_id="s",
        config=to_tree(CONFIG),
        state_dir="",
        storage_uri="/x",
        database_url="",
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
        data=DataFacts("h", 400, num_val, 100, 6, 4, {}, 1 / 6),
        ledger=None,
        confirmation=None,
    )
    return dataclasses.replace(made, **changes)


UNTRAINED = {"baseline/random_init/retrieval/recall_at_1": 0.3}
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


def test_the_report_says_which_runs_hold_a_showcase() -> None:
    trials = (
        trial(0, "1-2", 0.5, run_id="aaa"),
        trial(1, "1-4", 0.6, run_id="bbb"),
        trial(2, "1-2", 0.4, run_id="ccc"),
    )
    assert "showcase.html in the runs of trial 0 (aaa) and trial 1 (bbb)" in sections.reproduce(
        record(*trials, showcases=(0, 1))
    )
    assert "showcase" not in sections.reproduce(record(*trials))


ONE, TWO, THREE = candidate(0, 0.5, 0.6), candidate(1, 0.5, 0.5), candidate(2, 0.3, 0.4)
TRIALS = trial(0, "1-2", 0.5), trial(1, "1-4", 0.6), trial(2, "1-2", 0.4)
CONFIRMED = Confirmation((ONE,), "winner", 0, (), "trial 0 was the only candidate", TEST_PART)
WON = Confirmation((ONE, TWO, THREE), "winner", 0, (), "trial 0 wins", {})
TIED = Confirmation((ONE, TWO, THREE), "tie", 1, (0, 1), "a tie", {})
TIED_SETS = Confirmation((ONE, THREE), "tie", 2, (0, 2), "a tie", {})
SAME_RATES = Confirmation((ONE, TWO, THREE), "tie", 2, (0, 2), "a tie", {})
OF_UNTRAINED = "test/baseline/random_init/retrieval/recall_at_1"
OVERLAPPING, APART = (
    dataclasses.replace(
        CONFIRMED, test={**TEST_PART, f"{OF_UNTRAINED}_low": 0.1, f"{OF_UNTRAINED}_high": high}
    )
    for high in (0.45, 0.39)
)
ALL_TIED = Confirmation((ONE, TWO, THREE), "tie", 1, (0, 1, 2), "a tie", {})
# (the record, verdict, part of the headline, part of the notes)
ANSWERS = [
    (record(), "none", "No trial has finished yet: 0 of 8 ended", ""),
    (
        record(trial(0, "1-2", 0.3, TrialState.PRUNED), trial(1, "1-4", state=TrialState.RUNNING)),
        "none",
        "1 of 8 ended",
        "",
    ),
    (
        record(trial(0, "1-2", 0.5)),
        "alone",
        "Only rates 1-2 have a finished trial: trial 0 reaches recall@1 0.500 [0.431, 0.569]",
        "one trial",
    ),
    (
        record(trial(0, "1-2", 0.5), trial(1, "1-2", 0.6)),
        "alone",
        "trial 1 reaches",
        "the best of 2 finished trials",
    ),
    (
        record(trial(0, "1-2", 0.3), trial(1, "1-4", 0.5)),
        "winner",
        "Rates 1-4 are best: trial 1 reaches",
        "Not confirmed",
    ),
    (
        record(trial(0, "1-2", 0.45), trial(1, "1-4", 0.5)),
        "tie",
        "A tie: rates 1-4 lead with recall@1 0.500",
        "Not confirmed",
    ),
    (
        record(trial(0, "1-2", 0.3), trial(1, "1-4", 0.5), num_val=20),
        "tie",
        "but on 20 videos that cannot be told from 1-2.",
        "",
    ),
    (record(trial(0, "1-2", 0.9, "pruned"), trial(1, "1-4", 0.5)), "alone", "Only rates 1-4", ""),
    (
        record(trial(0, "1-2", 0.5), baselines=UNTRAINED),
        "alone",
        "",
        "untrained reaches 0.300 [0.241, 0.367]: pretraining helps",
    ),
    (
        record(trial(0, "1-2", 0.35), baselines=UNTRAINED),
        "alone",
        "",
        "that pretraining helps is not shown. Guessing reaches 0.167.",
    ),
    (
        record(*TRIALS, confirmation=CONFIRMED),
        "winner",
        "Rates 1-2 are best: trial 0 reaches recall@1 0.550 [0.400, 0.700] on 2 new "
        "seeds, the only candidate.",
        "On the test part, which nothing was chosen by, trial 0: recall@1 0.500 "
        "[0.400, 0.600], fine-tuned recognition 0.700. "
        "The same encoder untrained reaches 0.200 there. Guessing reaches 0.167.",
    ),
    (
        record(*TRIALS, confirmation=WON),
        "winner",
        "on 2 new seeds, apart from every other candidate (next 1-4, trial 1, 0.500 "
        "[0.400, 0.600]).",
        "",
    ),
    (
        record(*TRIALS, confirmation=TIED),
        "tie",
        "A tie: on 2 new seeds rates 1-2 (trial 0) and 1-4 (trial 1) cannot be told "
        "apart: recall@1 0.550 [0.4",
        "",
    ),
    (
        record(*TRIALS, confirmation=TIED_SETS, baselines=UNTRAINED),
        "tie",
        "A tie: on 2 new seeds trial 0 and trial 2, both with rates 1-2, cannot be "
        "told apart; no other rates were a candidate: recall@1 0.5",
        "The same encoder untrained reaches 0.300",
    ),
    (
        record(*TRIALS, confirmation=SAME_RATES),
        "winner",
        "Rates 1-2 are best: trial 0 reaches recall@1 0.550 [0.400, 0.700] on 2 new "
        "seeds, apart from every candidate with other rates "
        "(next 1-4, trial 1, 0.500 [0.400, 0.600]); trial 2, with the same rates, "
        "cannot be told from it.",
        "",
    ),
    (
        record(*TRIALS, confirmation=OVERLAPPING),
        "winner",
        "",
        "untrained reaches 0.200 [0.100, 0.450] there: the intervals overlap",
    ),
    (
        record(*TRIALS, confirmation=APART),
        "winner",
        "",
        "untrained reaches 0.200 [0.100, 0.390] there: pretraining helps.",
    ),
    (
        record(*TRIALS, confirmation=ALL_TIED),
        "tie",
        "rates 1-2 (trial 0), 1-4 (trial 1) and 1-2 (trial 2) cannot be told apart",
        "",
    ),
]


@pytest.mark.parametrize(
    ("found", "verdict", "headline", "note"),
    ANSWERS,
    ids=[f"{row[1]}-{number}" for number, row in enumerate(ANSWERS)],
)
def test_the_answer(found: SweepRecord, verdict: str, headline: str, note: str) -> None:
    said = findings.answer(found)
    assert said.verdict == verdict
    assert headline in said.headline
    assert note in " ".join(said.notes)
    assert ("Not confirmed" in " ".join(said.notes)) == (
        found.confirmation is None and verdict != "none"
    )


def test_a_budget_that_ended_the_sweep_is_said() -> None:
    limited = dataclasses.replace(CONFIG, budget=BudgetConfig(gpu_hours=40, usd=2.5))
    ended = record(trial(0, "1-2", 0.5), config=limited, baselines=UNTRAINED)
    assert (
        "1 of 8 trials (1 finished) · ended by its budget of 40 GPU-hours or 2.5 USD</p>"
        in sections.head(ended)
    )
    running = dataclasses.replace(
        ended, trials=(*ended.trials, trial(1, "1-2", state=TrialState.RUNNING))
    )
    for other in (
        dataclasses.replace(ended, baselines={}),
        dataclasses.replace(ended, config=CONFIG),
        running,
    ):
        assert "budget" not in sections.head(other)


def test_rate_sets_with_a_finished_trial_come_first_by_their_best() -> None:
    trials = [
        trial(0, "1-2", 0.2),
        trial(1, "1-4", 0.4),
        trial(2, "1-4", 0.3),
        trial(3, "1-4", 0.5),
        trial(4, "2-4", 0.9, "pruned"),
    ]
    rows = findings.rate_sets(record(*trials, trial(5, "1-8", state=TrialState.FAILED)))
    assert [row.rates for row in rows] == ["1-4", "1-2", "2-4", "1-8"]
    first = rows[0]
    assert (first.best_trial, first.best.value) == (3, 0.5)
    assert first.mean.value == pytest.approx(0.4) and first.mean.low < 0.3
    assert first.first_rung == pytest.approx(0.2)
    assert rows[1].mean is None, "one trial has no interval over trials"
    assert rows[2].best is None and rows[2].first_rung == 0.9 and rows[3].first_rung is None


def test_wilson_is_over_the_validation_videos() -> None:
    interval = findings.video_interval(record(num_val=48), 0.646)
    assert (round(interval.low, 3), round(interval.high, 3)) == (0.504, 0.766)
    assert (
        findings.video_interval(record(), None) is None
        and findings.video_interval(record(), math.nan) is None
    )


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


def test_cost_by_the_ledger_and_without_one() -> None:
    one = trial(1, "1-2", 0.4)
    assert findings.cost_of(record(one), one) == findings.Cost(4.0, "CPU h", None)
    rows = (
        entry(1, cpus=2, busy_seconds=1800, usd=0.5),
        entry(1, cpus=2, busy_seconds=900, usd=0.25),
        entry(1, kind="evaluation", cpus=1, busy_seconds=999, usd=9.0),
        entry(0, cpus=2, busy_seconds=999),
    )
    assert findings.cost_of(record(one, ledger=rows), one) == findings.Cost(1.5, "CPU h", 0.75)
    unpriced = (*rows, entry(1, cpus=2, busy_seconds=1, price=""))
    assert findings.cost_of(record(one, ledger=unpriced), one).usd is None, (
        "an unknown price is not zero"
    )
    on_gpus = dataclasses.replace(one, gpus=4.0)
    assert findings.cost_of(record(on_gpus), on_gpus) == findings.Cost(8.0, "GPU h", None)


LEDGER = (
    entry(0, gpus=2, cpus=8, busy_seconds=3600, data_wait_seconds=360, usd=6.0),
    entry(1, gpus=1, cpus=4, busy_seconds=3600, redone_seconds=900, pending_seconds=1800, usd=3.0),
    entry(1, rung_epoch=6, gpus=1, busy_seconds=1800, late_seconds=450, usd=1.5),
    entry(0, rung_epoch=6, gpus=1, pending_seconds=60),
    entry(1, rung_epoch=3, kind="evaluation", gpus=0.5, busy_seconds=1800, usd=1.0),
    entry(1, rung_epoch=3, kind="evaluation", gpus=0.5, busy_seconds=1800, usd=1.0),
    entry(0, rung_epoch=6, kind="confirm", seed=1, gpus=1, busy_seconds=1800, usd=1.5),
    entry(0, rung_epoch=6, kind="confirm", seed=2, gpus=1, busy_seconds=1800, usd=1.5),
)


def test_where_the_hours_went_adds_up() -> None:
    *rows, everything = spending.spendings(LEDGER)
    assert [(row.what, row.num_runs, row.held, row.usd) for row in rows] == [
        ("training to epoch 3", 2, 3.0, 9.0),
        ("training from epoch 3 to 6", 1, 0.5, 1.5),
        ("evaluating rungs beside training", 1, 0.5, 2.0),
        ("confirming with new seeds", 2, 1.0, 3.0),
    ]
    first, second = rows[:2]
    assert (first.data_wait, first.redone, first.late, first.pending) == (0.2, 0.25, 0.0, 0.5)
    assert second.late == 0.125
    assert (everything.what, everything.held, everything.usd) == (
        "all of it",
        sum(row.held for row in rows),
        15.5,
    )
    assert (
        spending.spendings(()) == [] == spending.spendings((entry(0, pending_seconds=9.0, cpus=1),))
    )


def test_the_table_of_hours_says_what_was_lost() -> None:
    head, lines = spending.table_of(spending.spendings(LEDGER), on_gpu=True)
    assert head[:5] == ("what for", "runs", "GPU h", "$", "of all")
    assert lines[0] == ("", ("training to epoch 3", "2", "3", "9.00", "60%", "7%", "8%", "", "0.5"))
    assert lines[-1][0] == "best" and lines[-1][1][:5] == ("all of it", "5", "5", "15.50", "100%")
    unpriced = spending.table_of(
        spending.spendings((entry(0, cpus=1, busy_seconds=60, price=""),)), on_gpu=False
    )
    assert unpriced[0][2:4] == ("CPU min", "of all") and unpriced[1][0][1][2:4] == ("1", "100%")


def test_what_a_point_of_recall_cost() -> None:
    best = trial(0, "1-2", 0.5)
    assert spending.price_of_a_point(record(best, baselines=UNTRAINED, ledger=LEDGER)) == (
        "0.25 GPU h, $0.78 (for 20.0 points of recall@1 above random initialisation)"
    )
    assert "not above random initialisation" in spending.price_of_a_point(
        record(trial(0, "1-2", 0.3), baselines=UNTRAINED, ledger=LEDGER)
    )
    assert (
        spending.price_of_a_point(record(best, ledger=LEDGER))
        == ""
        == spending.price_of_a_point(record(best, baselines=UNTRAINED))
    )


def test_nothing_beats_a_point_of_the_pareto_front() -> None:
    planes = [(1.0, 0.3), (2.0, 0.2), (2.0, 0.5), (3.0, 0.5), (4.0, 0.6)]
    points = [
        findings.Point(trial(number, "1-2"), cost, recall)
        for number, (cost, recall) in enumerate(planes)
    ]
    assert [(point.cost, point.recall) for point in findings.pareto_front(points)] == [
        (1.0, 0.3),
        (2.0, 0.5),
        (4.0, 0.6),
    ]


@pytest.mark.parametrize(
    ("largest", "expected"),
    [(2.0, (1, "GPU h")), (0.5, (60, "GPU min")), (0.01, (3600, "GPU s")), (0.0, (3600, "GPU s"))],
)
def test_a_unit_that_reads_well(largest: float, expected: tuple[float, str]) -> None:
    assert formatting.readable_unit("GPU h", largest) == expected


def test_confusions_and_the_commonest_mistake() -> None:
    shares = {"1_as_1": 0.9, "1_as_8": 0.1, "8_as_1": 0.4, "8_as_8": 0.6}
    metrics = {
        "train/loss": 1.0,
        **{f"rate_confusion/{name}": share for name, share in shares.items()},
    }
    confusion = findings.confusion_of(trial(0, "1-8", metrics=metrics))
    assert confusion == {(1, 1): 0.9, (1, 8): 0.1, (8, 1): 0.4, (8, 8): 0.6}
    assert findings.most_confused(confusion) == (8, 1, 0.4)
    assert findings.most_confused({(1, 1): 1.0, (1, 2): 0.0}) is None


def test_chance_is_the_share_of_lucky_draws() -> None:
    def videos(*labels: str) -> tuple[VideoRecord, ...]:
        return tuple(
            VideoRecord(key=f"{n}", num_bytes=1, etag="e", num_frames=9, label=label)
            for n, label in enumerate(labels)
        )

    split = Parts(train=videos("a", "a", "b", "c"), val=videos("a", "b"), test=())
    assert chance_level(split, 1) == pytest.approx((2 / 4 + 1 / 4) / 2)
    assert chance_level(split, 2) == pytest.approx(
        ((1 - (2 / 4) * (1 / 3)) + (1 - (3 / 4) * (2 / 3))) / 2
    )
    assert chance_level(split, 9) == 1.0


def test_the_videos_of_a_sweep() -> None:
    facts = data_facts(CONFIG, manifest_of())
    assert (facts.num_train, facts.num_val, facts.num_test, facts.num_classes) == (72, 24, 24, 6)
    assert facts.num_val_groups == NUM_VAL_GROUPS
    assert facts.quarantined == {"truncated": 1, "empty": 1} and facts.chance == pytest.approx(
        1 / 6
    )


def test_a_sweep_without_a_ledger_has_none(tmp_path: Path) -> None:
    assert kept_ledger(tmp_path / "ledger.jsonl") is None
    (tmp_path / "ledger.jsonl").write_text("")
    assert kept_ledger(tmp_path / "ledger.jsonl") == ()


def test_a_confirmation_counts_once_it_has_a_verdict() -> None:
    tree = {
        "candidates": [
            {"trial": 3, "seeds": [1, 2], "recall_at_1": [0.5, 0.6], "low": 0.4, "high": 0.7}
        ],
        "verdict": "tie",
        "text": "A tie.",
    }
    only = (Candidate(3, (1, 2), (0.5, 0.6), 0.4, 0.7),)
    assert read_confirmation(json.dumps(tree)) == Confirmation(only, "tie", 3, (3,), "A tie.", {})
    assert read_confirmation(json.dumps(tree | {"taken": 3, "tied": []})) == Confirmation(
        only, "tie", 3, (), "A tie.", {}
    )
    assert read_confirmation(None) is None
    assert read_confirmation(json.dumps({"candidates": []})) is None


def test_a_confirmation_is_shown_with_its_seeds_and_the_test_part() -> None:
    text = sections.confirmation(record(*TRIALS, confirmation=CONFIRMED))
    assert (
        "<td>0</td><td>1-2</td><td>1, 2</td><td>0.500, 0.600</td><td>0.550 [0.400, 0.700]</td>"
        in text
    )
    assert "The 100 test videos" in text and "2 could not be read." in text
    assert confirmed.test_table(CONFIRMED) == (
        ("", "recall@1 [95 %]", "recall@5", "linear probe", "recognition, fine-tuned"),
        [
            ("best", ("trial 0", "0.500 [0.400, 0.600]", "0.800", "", "0.700")),
            ("soft", ("random initialisation", "0.200", "", "", "")),
        ],
    )
    assert sections.confirmation(record(trial(0, "1-2", 0.5))) == ""


def test_the_trial_that_a_confirmation_took_is_the_one_to_reproduce() -> None:
    found = record(*TRIALS, confirmation=TIED_SETS)
    assert found.best is not None and found.best.number == 1
    assert found.taken is not None and found.taken.number == 2
    assert record(*TRIALS).taken == found.best
    assert (
        findings.leaderboard_answer(found).verdict == "tie"
        and "rates 1-4 lead" in findings.leaderboard_answer(found).headline
    )


def test_what_a_page_shows_is_escaped() -> None:
    assert (
        markup.prose("a <b> 1-2-4 & trial 7")
        == 'a &lt;b&gt; <span class="whole">1-2-4</span> &amp; <span class="whole">trial 7</span>'
    )
    assert "<script>" not in markup.table(("<script>",), [("", ("<script>",))], caption="<script>")
    assert "<script>" not in markup.figure("<svg ></svg>", "<script>", '"<script>', "<script>")
    assert 'aria-label="&quot;quoted&quot;"' in markup.figure("<svg ></svg>", "title", '"quoted"')
