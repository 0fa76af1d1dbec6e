"""Pretraining without any cluster, on real videos, alone and on two workers.

Rungs, resumes that continue bit for bit, workers that agree.
"""

from __future__ import annotations

import dataclasses
import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import prp_core.training.loop as loop
from prp_core.agreement import OtherWorkerFailed
from prp_core.data.object_store import LocalStore
from prp_core.data.video_source import VideoSource
from prp_core.errors import DivergedError, UserError
from prp_core.evaluation.downstream import evaluate_encoder
from prp_core.pretext.targets import PackedBatch
from prp_core.reporting import MemoryReporter
from prp_core.training.checkpoint import CheckpointFolder
from prp_core.training.encoder_export import checkpoint_encoder_weights, rebuild_encoder
from prp_core.training.loop import PretrainOutcome, pretrain
from prp_core.training.metrics import OBJECTIVE
from prp_core.training.pretrain_data import PretrainData
from prp_core.world import World
from tests.tiny_corpus import LOADER, make_corpus, open_source
from tests.tiny_training import assert_same, config_with, last_state, parts_of, train
from tests.worker_group import run_workers

ALONE = World.alone()


class Died(Exception):
    """The process dies here."""


@dataclass
class MortalReporter(MemoryReporter):
    """Dies when it is to log the loss of step `dies_at_step`, or at the rung of epoch
    `dies_at_rung`.
    """

    dies_at_step: int = -1
    dies_at_rung: int = -1

    def log(self, metrics: Mapping[str, float], *, step: int) -> None:
        if step == self.dies_at_step and "train/loss" in metrics:
            raise Died
        super().log(metrics, step=step)

    def at_rung(
        self, *, epoch: int, step: int, metrics: Mapping[str, float], hits: Mapping[str, bool]
    ) -> bool:
        if epoch == self.dies_at_rung:
            raise Died
        return super().at_rung(epoch=epoch, step=step, metrics=metrics, hits=hits)


@pytest.fixture
def samples(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Every sample that a step is taken on, in order."""
    return record_samples(monkeypatch)


def record_samples(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    seen: list[tuple[Any, ...]] = []
    real = loop.assemble_batch

    def recording(packed: PackedBatch, *arguments: Any) -> Any:
        seen.extend(
            (sample.epoch, sample.index, sample.video_index, sample.start, sample.rate)
            for sample in packed.spans.samples
        )
        torch.rand(
            1
        )  # as a network with dropout draws: a resume has to bring the generator back as well
        return real(packed, *arguments)

    monkeypatch.setattr(loop, "assemble_batch", recording)
    return seen


@dataclass(frozen=True)
class WholeRun:
    """A run that nothing interrupted."""

    folder: Path
    outcome: PretrainOutcome
    reporter: MemoryReporter
    samples: list[tuple[Any, ...]]


@pytest.fixture(scope="module")
def whole(data: PretrainData, tmp_path_factory: pytest.TempPathFactory) -> WholeRun:
    folder, reporter = tmp_path_factory.mktemp("whole"), MemoryReporter()
    with pytest.MonkeyPatch.context() as monkeypatch:
        seen = record_samples(monkeypatch)
        outcome = train(data, folder, reporter, hits_of=OBJECTIVE, profile_steps=2)
    return WholeRun(folder, outcome, reporter, seen)


def test_a_run_trains_is_evaluated_and_measured(whole: WholeRun, data: PretrainData) -> None:
    outcome, reporter = whole.outcome, whole.reporter
    assert (outcome.last_epoch, outcome.stopped_early) == (3, False)
    assert [(epoch, step) for epoch, step, _ in reporter.rungs] == [(1, 2), (3, 6)]
    assert reporter.rungs[-1][2] == outcome.metrics
    assert OBJECTIVE in outcome.metrics and "linear_probe/accuracy" in outcome.metrics
    assert "linear_probe/accuracy" not in reporter.rungs[0][2], (
        "the probe is fitted at the end only"
    )
    assert [step for step, _ in reporter.series("train/loss")] == [1, 2, 3, 4, 5, 6]
    assert [step for step, _ in reporter.series("epoch/loss")] == [2, 4, 6]
    assert [step for step, _ in reporter.series(OBJECTIVE)] == [2, 6]
    confusion = {
        name: value
        for step, metrics in reporter.logged
        if step == 6
        for name, value in metrics.items()
        if name.startswith("rate_confusion/")
    }
    for true in ("1", "2"):
        row = {
            name: value
            for name, value in confusion.items()
            if name.startswith(f"rate_confusion/{true}_as_")
        }
        assert not row or sum(row.values()) == pytest.approx(1), (
            "shares of the clips of one true rate"
        )
    assert confusion and not any(
        name.startswith("rate_confusion/") for name in reporter.logged[0][1]
    ), "at the end of an epoch only"
    by_step = dict(reporter.series("train/loss"))
    assert reporter.series("epoch/loss")[1][1] == pytest.approx((by_step[3] + by_step[4]) / 2)
    assert all(0 <= value <= 1 for _, value in reporter.series("time/data_wait_share"))
    assert reporter.series("data/samples")[-1] == (6, 24.0) and reporter.series("data/quarantined")[
        -1
    ] == (6, 0.0)
    assert sorted({(epoch, index) for epoch, index, *_ in whole.samples}) == [
        (epoch, index) for epoch in range(3) for index in range(8)
    ]


def test_a_rung_reports_which_queries_hit_where_it_is_asked_to(
    whole: WholeRun, data: PretrainData, tmp_path: Path
) -> None:
    queries = {record.key for record in data.parts.val}
    for epoch, _, metrics in whole.reporter.rungs:
        hits = whole.reporter.hits[epoch]
        assert hits.keys() == queries and sum(hits.values()) / len(hits) == metrics[OBJECTIVE]
    train(data, tmp_path, unasked := MemoryReporter(), num_epochs=1)
    assert unasked.hits == {1: {}}


def test_steps_are_profiled_beside_the_checkpoints(whole: WholeRun) -> None:
    table = (whole.folder / "checkpoints/profile/kernels.txt").read_text()
    assert "convolution" in table and "Self CPU" in table
    trace = gzip.decompress((whole.folder / "checkpoints/profile/trace.json.gz").read_bytes())
    names = [event.get("name") for event in json.loads(trace)["traceEvents"]]
    forward_passes = names.count("aten::native_batch_norm"), names.count("aten::batch_norm")
    assert max(forward_passes) > 0


def test_the_checkpoint_holds_the_encoder_that_was_measured(
    whole: WholeRun, data: PretrainData
) -> None:
    checkpoints = CheckpointFolder(LocalStore(whole.folder))
    checkpoint = checkpoints.latest_committed()
    assert checkpoint is not None and checkpoint.step == 6
    encoder = rebuild_encoder(
        checkpoint.facts["config"]["encoder.name"],
        checkpoint_encoder_weights(checkpoints, checkpoint),
    )
    config = config_with()
    metrics = evaluate_encoder(encoder, config, data.validation, ALONE, is_final=True)
    assert metrics == whole.outcome.metrics


@pytest.mark.parametrize(
    ("death", "training"),
    [
        ({"dies_at_step": 1}, {}),
        ({"dies_at_step": 2}, {}),
        ({"dies_at_rung": 1}, {}),
        ({"dies_at_step": 4}, {}),
        ({"dies_at_step": 6}, {"checkpoint_every_steps": 0}),
        ({"dies_at_rung": 3}, {"checkpoint_every_steps": 4}),
    ],
    ids=[
        "before-any-checkpoint",
        "mid-epoch",
        "before-the-decision",
        "mid-epoch-after-a-rung",
        "saved-each-epoch",
        "before-the-last-decision",
    ],
)
def test_a_resumed_run_is_the_whole_run_bit_for_bit(
    whole: WholeRun,
    data: PretrainData,
    tmp_path: Path,
    samples: list[tuple[Any, ...]],
    death: dict[str, Any],
    training: dict[str, Any],
) -> None:
    before, after = MortalReporter(**death), MemoryReporter()
    with pytest.raises(Died):
        train(data, tmp_path, before, **training)
    torch.manual_seed(99)  # whatever the generators hold in a new process
    num_before = len(samples)
    outcome = train(data, tmp_path, after, **training)
    assert outcome == whole.outcome
    assert_same(last_state(tmp_path), last_state(whole.folder))
    for name in (
        "train/loss",
        "train/rate_accuracy",
        "epoch/loss",
        "epoch/gradient_norm",
        OBJECTIVE,
    ):
        said = {**dict(before.series(name)), **dict(after.series(name))}
        assert said == dict(whole.reporter.series(name)), name
        repeated = dict(before.series(name)).keys() & dict(after.series(name)).keys()
        assert all(
            dict(before.series(name))[step] == dict(after.series(name))[step] for step in repeated
        ), "what is said twice is the same"
    resumed = samples[num_before:]
    assert resumed == whole.samples[len(whole.samples) - len(resumed) :]
    assert after.rungs[-1] == whole.reporter.rungs[-1]
    if death.get("dies_at_rung") == 1:
        assert after.rungs == whole.reporter.rungs and len(resumed) == 16, (
            "no step is repeated, the decision is asked for again"
        )


@pytest.mark.usefixtures("samples")
def test_a_run_that_continues_a_shorter_one_is_the_whole_run_bit_for_bit(
    whole: WholeRun, data: PretrainData, tmp_path: Path
) -> None:
    """Where the schedule does not know how long a run is: a cosine takes up the longer run's."""
    earlier, folder = tmp_path / "earlier", tmp_path / "extended"
    train(data, earlier, MemoryReporter(), num_epochs=1)
    before = last_state(earlier)
    reporter = MortalReporter(dies_at_step=4)
    with pytest.raises(Died):
        train(data, folder, reporter, continues=earlier)
    again = MemoryReporter()
    assert train(data, folder, again, continues=earlier) == whole.outcome
    assert_same(last_state(folder), last_state(whole.folder))
    assert_same(last_state(earlier), before)
    losses = dict(reporter.series("train/loss")) | dict(again.series("train/loss"))
    assert losses == {
        step: loss for step, loss in whole.reporter.series("train/loss") if step > 2
    }, "no step of the earlier run is taken or logged again"

    with pytest.raises(UserError, match=r"training\.learning_rate is 0\.5 here and 0\.01 there"):
        train(data, tmp_path / "other", again, continues=earlier, learning_rate=0.5)
    with pytest.raises(UserError, match="nothing.checkpoints holds no checkpoint to go on from"):
        train(data, tmp_path / "other", again, continues=tmp_path / "nothing")


def test_a_run_leaves_at_the_rung_where_it_is_told_to(
    whole: WholeRun, data: PretrainData, tmp_path: Path, samples: list[tuple[Any, ...]]
) -> None:
    reporter = MemoryReporter(should_continue=lambda epoch, metrics: False)
    outcome = train(data, tmp_path, reporter)
    assert outcome == PretrainOutcome(1, True, whole.reporter.rungs[0][2])
    assert len(samples) == 8 and [step for step, _ in reporter.series("train/loss")] == [1, 2]
    again = train(data, tmp_path, reporter)
    assert again == outcome and len(samples) == 8 and len(reporter.rungs) == 2, (
        "a resume asks again and takes no step"
    )


def test_a_stop_after_the_last_epoch_changes_nothing(whole: WholeRun, data: PretrainData) -> None:
    reporter = MemoryReporter(should_continue=lambda epoch, metrics: False)
    outcome = train(data, whole.folder, reporter)
    assert outcome == whole.outcome and [epoch for epoch, _, _ in reporter.rungs] == [3]


def test_a_run_that_diverges_says_so(data: PretrainData, tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=r"at step \d: training diverged"):
        train(data, tmp_path, MemoryReporter(), learning_rate=1e30)


def test_another_config_does_not_continue_this_run(whole: WholeRun, data: PretrainData) -> None:
    with pytest.raises(
        UserError,
        match=r"checkpoint of another run: training\.learning_rate is 0\.5 here and 0\.01 there",
    ):
        train(data, whole.folder, MemoryReporter(), learning_rate=0.5)
    fewer = PretrainData(data.source, dataclasses.replace(data.parts, train=data.parts.train[:4]))
    with pytest.raises(UserError, match="steps per epoch"):
        train(fewer, whole.folder, MemoryReporter())
    assert train(data, whole.folder, MemoryReporter(), checkpoint_every_steps=7).last_epoch == 3, (
        "how often one saves may change"
    )


def test_videos_without_a_class_are_refused_before_training(
    data: PretrainData, tmp_path: Path
) -> None:
    nameless = tuple(dataclasses.replace(record, label=None) for record in data.parts.val)
    with pytest.raises(
        UserError, match="retrieval needs videos with a class: 0 of 4 query videos have one"
    ):
        train(
            PretrainData(data.source, dataclasses.replace(data.parts, val=nameless)),
            tmp_path,
            MemoryReporter(),
        )


def test_broken_videos_are_counted_wherever_they_are_met(tmp_path: Path) -> None:
    make_corpus(tmp_path / "videos", num_train=8, num_val=4)
    for name in ("down/train-02.mp4", "right/val-01.mp4"):
        path = tmp_path / "videos" / name
        path.write_bytes(path.read_bytes()[:600])
    parts, reporter = parts_of(tmp_path / "videos"), MemoryReporter()
    with open_source(tmp_path / "videos") as source:
        outcome = train(PretrainData(source, parts), tmp_path / "run", reporter, num_epochs=1)
    assert (
        dict(reporter.series("data/quarantined"))[2] == 1
        and dict(reporter.series("data/replaced"))[2] >= 1
    )
    counts = [outcome.metrics[f"retrieval/num_{name}"] for name in ("gallery", "queries", "broken")]
    assert counts == [7, 3, 2]


def test_training_takes_planes(corpus: Path, tmp_path: Path, data: PretrainData) -> None:
    """Losses of frames that become RGB on the device are those of frames that came as RGB, but for
    a grey level here and there.
    """
    losses = []
    loader = dataclasses.replace(LOADER, colour="device")
    config = dataclasses.replace(config_with(num_epochs=1), loader=loader)
    with VideoSource(LocalStore(corpus), None, loader) as source:
        for name, chosen, frames in (
            ("rgb", config_with(num_epochs=1), data),
            ("planes", config, PretrainData(source, data.parts)),
        ):
            reporter = MemoryReporter()
            pretrain(
                chosen,
                frames,
                ALONE,
                checkpoints=CheckpointFolder(LocalStore(tmp_path / name), num_kept=1),
                reporter=reporter,
            )
            losses.append([value for _, value in reporter.series("train/loss")])
    assert losses[0] != losses[1] and losses[1] == pytest.approx(losses[0], rel=0.02)


def work(world: World, corpus: str, folder: str) -> dict[str, Any]:
    """What one of two workers sees: a whole run, one that is told to stop, one that dies and
    resumes.
    """
    answer: dict[str, Any] = {}
    with open_source(Path(corpus)) as source, pytest.MonkeyPatch.context() as monkeypatch:
        data, seen = PretrainData(source, parts_of(Path(corpus))), record_samples(monkeypatch)
        answer["whole"] = outcome_as_dict(
            train(data, Path(folder) / "whole", MemoryReporter(), world)
        )
        answer["samples"] = list(seen)
        told = MemoryReporter(should_continue=lambda epoch, metrics: False)
        answer["stopped"] = outcome_as_dict(train(data, Path(folder) / "stopped", told, world))
        answer["times asked"] = len(told.rungs)
        try:
            train(data, Path(folder) / "resumed", MortalReporter(dies_at_step=4), world)
        except (Died, OtherWorkerFailed) as death:
            answer["death"] = f"{type(death).__name__}: {death}"
        answer["resumed"] = outcome_as_dict(
            train(data, Path(folder) / "resumed", MemoryReporter(), world)
        )
    return answer


def outcome_as_dict(outcome: PretrainOutcome) -> dict[str, Any]:
    return {**dataclasses.asdict(outcome), "metrics": dict(outcome.metrics)}


@dataclass(frozen=True)
class Pair:
    """What two workers answered, and where their checkpoints lie."""

    answers: list[dict[str, Any]]
    folder: Path


@pytest.fixture(scope="module")
def pair(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("pair")
    return Pair(run_workers(work, folder / "group", str(corpus), str(folder)), folder)


def test_two_workers_see_the_samples_of_one_and_agree(pair: Pair, whole: WholeRun) -> None:
    first, second = pair.answers
    assert [
        sample for both in zip(first["samples"], second["samples"], strict=True) for sample in both
    ] == whole.samples
    assert first["whole"] == second["whole"] and first["whole"]["last_epoch"] == 3
    assert first["whole"]["metrics"].keys() == whole.outcome.metrics.keys()


def test_two_workers_leave_together(pair: Pair) -> None:
    first, second = pair.answers
    assert first["stopped"] == second["stopped"]
    assert (first["stopped"]["last_epoch"], first["stopped"]["stopped_early"]) == (1, True)
    assert (first["times asked"], second["times asked"]) == (1, 0), (
        "the first worker speaks for both"
    )


def test_two_workers_fail_together_and_resume_bit_for_bit(pair: Pair) -> None:
    first, second = pair.answers
    assert (first["death"], second["death"]) == (
        "Died: ",
        "OtherWorkerFailed: worker 0 failed while logging: Died: ",
    )
    assert first["resumed"] == second["resumed"] == first["whole"]
    state = last_state(pair.folder / "resumed")
    assert set(state) == {"common.pt", "rank-0.pt", "rank-1.pt"}
    assert_same(state, last_state(pair.folder / "whole"))
    running = [
        next(
            value
            for path, value in state[f"rank-{rank}.pt"].items()
            if path.endswith("running_mean")
        )
        for rank in (0, 1)
    ]
    assert not torch.equal(running[0], running[1]), (
        "each worker keeps the statistics of its own share"
    )


def test_one_worker_goes_on_from_a_checkpoint_of_two(pair: Pair, data: PretrainData) -> None:
    outcome = train(data, pair.folder / "whole", MemoryReporter())
    assert (outcome.last_epoch, outcome.stopped_early) == (3, False)
    assert dict(outcome.metrics) == pytest.approx(pair.answers[0]["whole"]["metrics"], rel=1e-3)


def test_a_source_is_left_as_it_was(data: PretrainData) -> None:
    assert (
        isinstance(data.source, VideoSource) and data.source.counters["data/decoder_starts"] == 1
    ), "one decoder served every run of this file"
