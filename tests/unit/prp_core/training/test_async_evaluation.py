"""Pretraining whose rungs are evaluated elsewhere while it continues."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from prp_core.data.object_store import LocalStore
from prp_core.evaluation.downstream import evaluate_encoder
from prp_core.reporting import MemoryReporter
from prp_core.training.checkpoint import CheckpointFolder
from prp_core.training.encoder_export import rebuild_encoder
from prp_core.training.loop import PretrainOutcome, pretrain
from prp_core.training.pretrain_data import PretrainData
from prp_core.world import World
from tests.tiny_corpus import open_source
from tests.tiny_training import config_with, parts_of, train
from tests.worker_group import run_workers

ALONE = World.alone()


@dataclass
class MemoryEvaluator:
    """Keeps what is submitted; says stop once it was asked `stop_after` times."""

    stop_after: int = 10**9
    submitted: list[tuple[int, int, Mapping[str, torch.Tensor]]] = dataclasses.field(
        default_factory=list
    )
    num_asked: int = 0

    def submit_rung(self, *, epoch: int, step: int, weights: Mapping[str, torch.Tensor]) -> None:
        self.submitted.append((epoch, step, weights))

    def should_stop(self) -> bool:
        self.num_asked += 1
        return self.num_asked >= self.stop_after


def train_async(
    data: PretrainData,
    folder: Path,
    evaluator: MemoryEvaluator,
    world: World = ALONE,
    **training: object,
) -> tuple[PretrainOutcome, MemoryReporter]:
    reporter, config = MemoryReporter(), config_with(**training)
    checkpoints = CheckpointFolder(LocalStore(folder), num_kept=1)
    return pretrain(
        config, data, world, checkpoints=checkpoints, reporter=reporter, evaluator=evaluator
    ), reporter


def test_an_async_evaluator_gets_the_weights_that_a_worker_would_have_measured(
    data: PretrainData, tmp_path: Path
) -> None:
    whole, evaluator = MemoryReporter(), MemoryEvaluator()
    train(data, tmp_path / "whole", whole)
    outcome, reporter = train_async(data, tmp_path / "async", evaluator)
    assert (outcome.last_epoch, outcome.stopped_early, outcome.metrics) == (3, False, {})
    assert [(epoch, step) for epoch, step, _ in evaluator.submitted] == [
        (1, 2),
        (3, 6),
    ] and reporter.rungs == []
    config = config_with()
    for (epoch, _, weights), (_, _, expected) in zip(evaluator.submitted, whole.rungs, strict=True):
        encoder = rebuild_encoder("c3d_small", weights)
        metrics = evaluate_encoder(encoder, config, data.validation, ALONE, is_final=epoch == 3)
        assert metrics == expected, f"rung {epoch}: the same figures, wherever they are measured"


@pytest.mark.parametrize(("log_every", "stop_after", "steps"), [(1, 3, 3), (2, 1, 2), (1000, 2, 4)])
def test_a_late_stop_ends_the_run_at_a_log_window_or_an_epochs_end(
    data: PretrainData, tmp_path: Path, log_every: int, stop_after: int, steps: int
) -> None:
    evaluator = MemoryEvaluator(stop_after=stop_after)
    outcome, _ = train_async(
        data, tmp_path, evaluator, log_every_steps=log_every, checkpoint_every_steps=0
    )
    assert outcome.stopped_early and outcome.metrics == {}
    assert evaluator.num_asked == stop_after
    assert outcome.last_epoch == (steps - 1) // 2
    assert [epoch for epoch, _, _ in evaluator.submitted] == ([1] if steps > 2 else [])


def test_a_resumed_run_submits_its_rung_again_at_the_same_step(
    data: PretrainData, tmp_path: Path
) -> None:
    first = MemoryEvaluator(stop_after=3)
    train_async(data, tmp_path, first, checkpoint_every_steps=0)
    second = MemoryEvaluator()
    outcome, _ = train_async(data, tmp_path, second, checkpoint_every_steps=0)
    assert [(epoch, step) for epoch, step, _ in first.submitted] == [(1, 2)]
    assert [(epoch, step) for epoch, step, _ in second.submitted] == [(1, 2), (3, 6)]
    assert all(
        torch.equal(value, second.submitted[0][2][name])
        for name, value in first.submitted[0][2].items()
    )
    assert not outcome.stopped_early


def stop_two_workers(world: World, corpus: str, folder: str) -> tuple[int, int, int]:
    """One of two workers: (steps trained, rungs submitted here, how often this worker was
    asked).
    """
    evaluator = MemoryEvaluator(stop_after=3)
    with open_source(Path(corpus)) as source:
        data = PretrainData(source, parts_of(Path(corpus)))
        outcome, reporter = train_async(data, Path(folder), evaluator, world)
    steps = max(step for step, _ in reporter.series("train/loss")) if world.is_first else 3
    return steps, len(evaluator.submitted), evaluator.num_asked if outcome.stopped_early else -1


def test_two_workers_leave_at_the_same_step_and_only_the_first_speaks(
    corpus: Path, tmp_path: Path
) -> None:
    answers = run_workers(
        stop_two_workers, tmp_path / "meeting", str(corpus), str(tmp_path / "checkpoints")
    )
    assert answers == [(3, 1, 3), (3, 0, 0)]
