"""What the report may say: the answer, intervals, cost, waste and chance, each decided from plain records."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest

from orchestrator.report import confirmed, findings, markup, sections
from orchestrator.run_config import load_config, to_tree
from orchestrator.sweep_record import (
    Attempt,
    Candidate,
    Confirmation,
    DataFacts,
    SweepRecord,
    TrialRecord,
    chance_level,
    data_facts,
    read_confirmation,
    read_ledger,
)
from orchestrator.sweep_spec import SweepSpec
from prp_core.data.manifest import Parts, VideoRecord
from tests.recorded_sweep import NUM_VAL_GROUPS, manifest_of

CONFIG = load_config("demo")


def trial(number: int, rates: str, value: float = math.nan, state: str = "finished", **changes: object) -> TrialRecord:
    rungs = {} if math.isnan(value) else {3: value / 2, 12: value} if state == "finished" else {3: value}
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
        sweep_id="s", config=to_tree(CONFIG), state_dir="", storage_uri="/x", database_url="", tracking_uri="", data_uri="", manifest_uri="", tags={}
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
    return Candidate(number, tuple(range(1, len(scores) + 1)), scores, min(scores) - 0.1, max(scores) + 0.1)


ONE, TWO, THREE = candidate(0, 0.5, 0.6), candidate(1, 0.5, 0.5), candidate(2, 0.3, 0.4)
TRIALS = trial(0, "1-2", 0.5), trial(1, "1-4", 0.6), trial(2, "1-2", 0.4)
CONFIRMED = Confirmation((ONE,), "winner", 0, (), "trial 0 was the only candidate", TEST_PART)
WON = Confirmation((ONE, TWO, THREE), "winner", 0, (), "trial 0 wins", {})
TIED = Confirmation((ONE, TWO, THREE), "tie", 1, (0, 1), "a tie", {})
TIED_SETS = Confirmation((ONE, THREE), "tie", 2, (0, 2), "a tie", {})
ALL_TIED = Confirmation((ONE, TWO, THREE), "tie", 1, (0, 1, 2), "a tie", {})
# (the record, verdict, part of the headline, part of the notes)
ANSWERS = [
    (record(), "none", "No trial has finished yet: 0 of 8 ended", ""),
    (record(trial(0, "1-2", 0.3, "pruned"), trial(1, "1-4", state="running")), "none", "1 of 8 ended", ""),
    (record(trial(0, "1-2", 0.5)), "alone", "Only rates 1-2 have a finished trial: trial 0 reaches recall@1 0.500 [0.431, 0.569]", "one trial"),
    (record(trial(0, "1-2", 0.5), trial(1, "1-2", 0.6)), "alone", "trial 1 reaches", "the best of 2 finished trials"),
    (record(trial(0, "1-2", 0.3), trial(1, "1-4", 0.5)), "winner", "Rates 1-4 are best: trial 1 reaches", "Not confirmed"),
    (record(trial(0, "1-2", 0.45), trial(1, "1-4", 0.5)), "tie", "A tie: rates 1-4 lead with recall@1 0.500", "Not confirmed"),
    (record(trial(0, "1-2", 0.3), trial(1, "1-4", 0.5), num_val=20), "tie", "but on 20 videos that cannot be told from 1-2.", ""),
    (record(trial(0, "1-2", 0.9, "pruned"), trial(1, "1-4", 0.5)), "alone", "Only rates 1-4", ""),
    (record(trial(0, "1-2", 0.5), baselines=UNTRAINED), "alone", "", "untrained reaches 0.300 [0.241, 0.367]: pretraining helps"),
    (record(trial(0, "1-2", 0.35), baselines=UNTRAINED), "alone", "", "that pretraining helps is not shown. Guessing reaches 0.167."),
    (
        record(*TRIALS, confirmation=CONFIRMED),
        "winner",
        "Rates 1-2 are best: trial 0 reaches recall@1 0.550 [0.400, 0.700] on 2 new seeds, the only candidate.",
        "On the test part, which nothing was chosen by, trial 0: recall@1 0.500 [0.400, 0.600], untrained 0.200, fine-tuned recognition 0.700.",
    ),
    (record(*TRIALS, confirmation=WON), "winner", "on 2 new seeds, apart from every other candidate (next 1-4, trial 1, 0.500 [0.400, 0.600]).", ""),
    (
        record(*TRIALS, confirmation=TIED),
        "tie",
        "A tie: on 2 new seeds rates 1-2 (trial 0) and 1-4 (trial 1) cannot be told apart: recall@1 0.550 [0.4",
        "",
    ),
    (record(*TRIALS, confirmation=TIED_SETS), "tie", "A tie: on 2 new seeds trial 0 and trial 2, both with rates 1-2, cannot be told apart:", ""),
    (record(*TRIALS, confirmation=ALL_TIED), "tie", "rates 1-2 (trial 0), 1-4 (trial 1) and 1-2 (trial 2) cannot be told apart", ""),
]


@pytest.mark.parametrize(("found", "verdict", "headline", "note"), ANSWERS, ids=[f"{row[1]}-{number}" for number, row in enumerate(ANSWERS)])
def test_the_answer(found: SweepRecord, verdict: str, headline: str, note: str) -> None:
    said = findings.answer(found)
    assert said.verdict == verdict
    assert headline in said.headline
    assert note in " ".join(said.notes)
    assert ("Not confirmed" in " ".join(said.notes)) == (found.confirmation is None and verdict != "none")


def test_rate_sets_with_a_finished_trial_come_first_by_their_best() -> None:
    trials = [trial(0, "1-2", 0.2), trial(1, "1-4", 0.4), trial(2, "1-4", 0.3), trial(3, "1-4", 0.5), trial(4, "2-4", 0.9, "pruned")]
    rows = findings.rate_sets(record(*trials, trial(5, "1-8", state="failed")))
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
    assert findings.video_interval(record(), None) is None and findings.video_interval(record(), math.nan) is None


def test_cost_by_the_ledger_and_without_one() -> None:
    one = trial(1, "1-2", 0.4)
    assert findings.cost_of(record(one), one) == findings.Cost(4.0, "CPU h", None)
    rows = (
        Attempt(trial=1, cpus=2, busy_seconds=1800, usd=0.5),
        Attempt(trial=1, cpus=2, busy_seconds=900, attempt=1, usd=0.25),
        Attempt(trial=1, kind="judge", cpus=1, busy_seconds=999, usd=9.0),
        Attempt(trial=0, cpus=2, busy_seconds=999),
    )
    assert findings.cost_of(record(one, ledger=rows), one) == findings.Cost(1.5, "CPU h", 0.75)
    on_gpus = dataclasses.replace(one, gpus=4.0)
    assert findings.cost_of(record(on_gpus), on_gpus) == findings.Cost(8.0, "GPU h", None)


def test_the_parts_of_busy_time_add_up() -> None:
    rows = (
        Attempt(trial=0, gpus=2, busy_seconds=100, data_wait_seconds=10, redone_seconds=5, late_seconds=3, pending_seconds=40, usd=1.0),
        Attempt(trial=1, gpus=1, busy_seconds=50, usd=0.5),
        Attempt(trial=1, kind="confirm", gpus=1, busy_seconds=70, usd=2.0),
    )
    waste = findings.waste_of(record(ledger=rows))
    assert (waste.busy, waste.data_wait, waste.redone, waste.late, waste.pending, waste.usd) == (250, 20, 10, 6, 80, 3.5)
    assert waste.learning + waste.data_wait + waste.redone + waste.late == waste.busy
    assert findings.waste_of(record()) is None


def test_nothing_beats_a_point_of_the_pareto_front() -> None:
    planes = [(1.0, 0.3), (2.0, 0.2), (2.0, 0.5), (3.0, 0.5), (4.0, 0.6)]
    points = [findings.Point(trial(number, "1-2"), cost, recall) for number, (cost, recall) in enumerate(planes)]
    assert [(point.cost, point.recall) for point in findings.pareto_front(points)] == [(1.0, 0.3), (2.0, 0.5), (4.0, 0.6)]


@pytest.mark.parametrize(("largest", "expected"), [(2.0, (1, "GPU h")), (0.5, (60, "GPU min")), (0.01, (3600, "GPU s")), (0.0, (3600, "GPU s"))])
def test_a_unit_that_reads_well(largest: float, expected: tuple[float, str]) -> None:
    assert findings.readable_unit("GPU h", largest) == expected


def test_confusions_and_the_commonest_mistake() -> None:
    shares = {"1_as_1": 0.9, "1_as_8": 0.1, "8_as_1": 0.4, "8_as_8": 0.6}
    metrics = {"train/loss": 1.0, **{f"rate_confusion/{name}": share for name, share in shares.items()}}
    confusion = findings.confusion_of(trial(0, "1-8", metrics=metrics))
    assert confusion == {(1, 1): 0.9, (1, 8): 0.1, (8, 1): 0.4, (8, 8): 0.6}
    assert findings.most_confused(confusion) == (8, 1, 0.4)
    assert findings.most_confused({(1, 1): 1.0, (1, 2): 0.0}) is None


def test_chance_is_the_share_of_lucky_draws() -> None:
    def videos(*labels: str) -> tuple[VideoRecord, ...]:
        return tuple(VideoRecord(key=f"{n}", num_bytes=1, etag="e", num_frames=9, label=label) for n, label in enumerate(labels))

    split = Parts(train=videos("a", "a", "b", "c"), val=videos("a", "b"), test=())
    assert chance_level(split, 1) == pytest.approx((2 / 4 + 1 / 4) / 2)
    assert chance_level(split, 2) == pytest.approx(((1 - (2 / 4) * (1 / 3)) + (1 - (3 / 4) * (2 / 3))) / 2)
    assert chance_level(split, 9) == 1.0


def test_the_videos_of_a_sweep() -> None:
    facts = data_facts(CONFIG, manifest_of())
    assert (facts.num_train, facts.num_val, facts.num_test, facts.num_classes) == (72, 24, 24, 6)
    assert facts.num_val_groups == NUM_VAL_GROUPS
    assert facts.quarantined == {"truncated": 1, "empty": 1} and facts.chance == pytest.approx(1 / 6)


def test_a_ledger_whose_writer_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    assert read_ledger(path) is None
    rows = [
        {"trial": 0, "rung_epoch": 3, "busy_seconds": 5.0, "usd": None, "a field of a later version": 1},
        {"trial": 1, "kind": "judge", "usd": 0.0, "price": ""},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"trial": 2, "bu')
    assert read_ledger(path) == (Attempt(trial=0, rung_epoch=3, busy_seconds=5.0), Attempt(trial=1, kind="judge"))
    path.write_text('{"trial": 2, "bu\n{"trial": 1}\n')
    with pytest.raises(json.JSONDecodeError):
        read_ledger(path)


def test_a_confirmation_counts_once_it_has_a_verdict() -> None:
    tree = {"candidates": [{"trial": 3, "seeds": [1, 2], "recall_at_1": [0.5, 0.6], "low": 0.4, "high": 0.7}], "verdict": "tie", "text": "A tie."}
    only = (Candidate(3, (1, 2), (0.5, 0.6), 0.4, 0.7),)
    assert read_confirmation(json.dumps(tree)) == Confirmation(only, "tie", 3, (3,), "A tie.", {})
    assert read_confirmation(json.dumps(tree | {"taken": 3, "tied": []})) == Confirmation(only, "tie", 3, (), "A tie.", {})
    assert read_confirmation(None) is None
    assert read_confirmation(json.dumps({"candidates": []})) is None


def test_a_confirmation_is_shown_with_its_seeds_and_the_test_part() -> None:
    text = sections.confirmation(record(*TRIALS, confirmation=CONFIRMED))
    assert "<td>0</td><td>1-2</td><td>1, 2</td><td>0.500, 0.600</td><td>0.550 [0.400, 0.700]</td>" in text
    assert "The 100 test videos" in text and "2 could not be read." in text
    assert confirmed.test_table(CONFIRMED) == (
        ("", "recall@1 [95 %]", "recall@5", "linear probe", "recognition, fine-tuned"),
        [("best", ("trial 0", "0.500 [0.400, 0.600]", "0.800", "", "0.700")), ("soft", ("random initialisation", "0.200", "", "", ""))],
    )
    assert sections.confirmation(record(trial(0, "1-2", 0.5))) == ""


def test_the_trial_that_a_confirmation_took_is_the_one_to_reproduce() -> None:
    found = record(*TRIALS, confirmation=TIED_SETS)
    assert found.best is not None and found.best.number == 1
    assert found.taken is not None and found.taken.number == 2
    assert record(*TRIALS).taken == found.best
    assert findings.leaderboard_answer(found).verdict == "tie" and "rates 1-4 lead" in findings.leaderboard_answer(found).headline


def test_what_a_page_shows_is_escaped() -> None:
    assert markup.prose("a <b> 1-2-4 & trial 7") == 'a &lt;b&gt; <span class="whole">1-2-4</span> &amp; <span class="whole">trial 7</span>'
    assert "<script>" not in markup.table(("<script>",), [("", ("<script>",))], caption="<script>")
    assert "<script>" not in markup.figure("<svg ></svg>", "<script>", '"<script>', "<script>")
    assert 'aria-label="&quot;quoted&quot;"' in markup.figure("<svg ></svg>", "title", '"quoted"')
