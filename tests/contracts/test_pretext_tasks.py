"""What every pretext task promises; a new field of `PretextTasks` is tested by existing."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from prp_core.data.clip_config import ClipConfig
from prp_core.data.dilated_sampling import span_length
from prp_core.data.spans import SpanBatch, SpanSample
from prp_core.data.transfer import allocate_for, pack_numbers
from prp_core.encoders.encoder_config import EncoderConfig
from prp_core.errors import UserError
from prp_core.pretext.network import build_network
from prp_core.pretext.pretext_config import PretextTasks
from prp_core.pretext.targets import (
    PretextBatch,
    build_pretext_batch,
    crop_spans,
    span_rows,
)
from prp_core.pretext.task import PretextTask
from prp_core.training.learner import Learner
from prp_core.training.pretrain_config import PretrainConfig
from prp_core.training.training_config import TrainingConfig
from prp_core.world import World
from tests.formula_clip import formula_sample

NAMES = [field.name for field in dataclasses.fields(PretextTasks)]
CLIP = ClipConfig(length=8, resize_height=32, resize_width=32, crop=32)


def alone(name: str) -> PretextTasks:
    """The task called `name` on, every other one off."""
    weights = {other: float(other == name) for other in NAMES}
    tasks = PretextTasks()
    return PretextTasks(
        **{
            other: dataclasses.replace(getattr(tasks, other), loss_weight=weight)
            for other, weight in weights.items()
        }
    )


def config_of(name: str) -> PretrainConfig:
    return PretrainConfig(
        encoder=EncoderConfig(name="c3d_small"),
        pretext=alone(name),
        clip=CLIP,
        training=TrainingConfig(batch_size=4, num_epochs=1, schedule="constant"),
        seed=11,
    )


def samples(name: str) -> list[SpanSample]:
    """Four spans of different rates, two of them played backwards."""
    sampling = alone(name).span_sampling(CLIP.length)
    return [
        dataclasses.replace(
            formula_sample(rate, sampling.positions[rate], size=32, label=label, index=label),
            is_reversed=label % 2 == 1,
        )
        for label, rate in enumerate(sampling.rates)
    ]


def batch_of(name: str, chosen: list[SpanSample]) -> PretextBatch:
    return build_pretext_batch(SpanBatch(tuple(chosen)), CLIP, alone(name), "cpu", ("contract",))


@pytest.mark.parametrize("name", NAMES)
def test_a_task_is_on_where_its_weight_is_above_zero(name: str) -> None:
    assert list(alone(name).active) == [name]
    task = getattr(PretextTasks(), name)
    assert isinstance(task, PretextTask)
    assert dataclasses.replace(task, loss_weight=0.0).loss_weight == 0
    with pytest.raises(UserError, match=rf"pretext\.{name}\.loss_weight = -1: must not be neg"):
        dataclasses.replace(task, loss_weight=-1)


@pytest.mark.parametrize("name", NAMES)
def test_only_what_is_on_is_built_and_arranged(name: str) -> None:
    network = build_network(config_of(name))
    assert list(network.heads) == list(network.stems) == [name]
    batch = batch_of(name, samples(name))
    assert list(batch.targets) == [name] and list(network(batch.clip_BCTHW)) == [name]


@pytest.mark.parametrize("name", NAMES)
def test_frames_are_asked_for_within_the_span(name: str) -> None:
    sampling = alone(name).span_sampling(CLIP.length)
    assert 0 <= sampling.reversed_share <= 1
    for rate, positions in sampling.positions.items():
        assert list(positions) == sorted(set(positions))
        assert positions[0] == 0 and positions[-1] < span_length(CLIP.length, rate)
        assert set(range(0, CLIP.length * rate, rate)) <= set(positions), "the clip's own"


@pytest.mark.parametrize("name", NAMES)
def test_tables_are_whole_numbers_and_say_all_that_targets_need(name: str) -> None:
    """So a batch can be arranged on a device from one upload of integers."""
    task, chosen = getattr(alone(name), name), samples(name)
    frames_NCHW = crop_spans(tuple(chosen), CLIP, torch.device("cpu"), ("contract",))
    rows = task.tables(span_rows(tuple(chosen), CLIP.length))
    tables = pack_numbers(rows, allocate_for(torch.device("cpu"))).tables()
    assert all(not table.is_floating_point() for table in tables.values())
    output = build_network(config_of(name))(batch_of(name, chosen).clip_BCTHW)[name]
    first, second = (task.targets(frames_NCHW, tables) for _ in range(2))
    assert torch.equal(task.loss(output, first), task.loss(output, second))


@pytest.mark.parametrize("name", NAMES)
def test_losses_and_metrics_are_means_over_clips(name: str) -> None:
    """Of a batch as of its halves, in any order: so two workers are as one."""
    task, chosen = getattr(alone(name), name), samples(name)
    network = build_network(config_of(name)).eval()

    @torch.no_grad()
    def numbers(part: list[SpanSample]) -> torch.Tensor:
        batch = batch_of(name, part)
        output = network(batch.clip_BCTHW)[name]
        metrics = task.metrics(output, batch.targets[name])
        assert metrics.shape == (len(task.metric_names),) and metrics.dtype == torch.float64
        return torch.cat([task.loss(output, batch.targets[name])[None].double(), metrics])

    whole = numbers(chosen)
    assert whole.isfinite().all()
    halves = torch.stack([numbers(chosen[:2]), numbers(chosen[2:])]).mean(dim=0)
    torch.testing.assert_close(halves, whole, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(numbers(chosen[::-1]), whole, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_step_reports_the_task_and_learns_it(name: str) -> None:
    task = getattr(alone(name), name)
    learner, batch = Learner(config_of(name), World.alone(), 1), batch_of(name, samples(name))
    steps = [learner.step(batch).read() for _ in range(12)]
    expected = {"train/loss", "train/gradient_norm", task.loss_name, *task.metric_names}
    assert all(set(numbers) == expected for numbers in steps)
    assert task.loss_name.startswith("train/")
    assert all(math.isfinite(value) for numbers in steps for value in numbers.values())
    assert steps[-1][task.loss_name] < 0.95 * steps[0][task.loss_name]
    assert isinstance(task.epoch_metrics(steps[-1]), dict)
