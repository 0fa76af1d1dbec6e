"""Playing direction: its loss, its invariances, and reversed spans under every other task."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch

from prp_core.data.clip_config import ClipConfig
from prp_core.data.clip_dataset import ClipDataset
from prp_core.data.dilated_sampling import span_length
from prp_core.data.manifest import VideoRecord
from prp_core.data.spans import SpanBatch, SpanSample
from prp_core.encoders.encoder_config import EncoderConfig
from prp_core.pretext.motion_attention import AttentionConfig
from prp_core.pretext.network import build_network
from prp_core.pretext.playback_rate import PlaybackRate
from prp_core.pretext.playing_direction import PlayingDirection, direction_loss
from prp_core.pretext.pretext_config import PretextTasks
from prp_core.pretext.slow_motion import SlowMotion
from prp_core.pretext.targets import PretextBatch, build_pretext_batch
from prp_core.training.learner import Learner
from prp_core.training.pretrain_config import PretrainConfig
from prp_core.training.training_config import TrainingConfig
from prp_core.world import World
from tests.formula_clip import formula_span
from tests.worker_group import run_workers

RATES = (1, 2, 4)
CLIP = ClipConfig(length=8, resize_height=32, resize_width=32, crop=32)
TASKS = PretextTasks(
    playback_rate=PlaybackRate(rates="1-2-4"), playing_direction=PlayingDirection(loss_weight=0.2)
)
CONFIG = PretrainConfig(
    encoder=EncoderConfig(name="c3d_small"),
    pretext=TASKS,
    clip=CLIP,
    training=TrainingConfig(batch_size=6, num_epochs=2, schedule="constant"),
    seed=3,
)
LENGTH = 60
# One video, backwards and forwards: native frame n of the one is native frame LENGTH - 1 - n of the
# other.
VIDEO_NHWC = ((formula_span(LENGTH, size=32)[0].clamp(0, 1) * 255).round().to(torch.uint8)).permute(
    1, 2, 3, 0
)


def slow_direction_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    items = [
        -torch.log(torch.exp(row[label]) / (torch.exp(row[0]) + torch.exp(row[1])))
        for row, label in zip(logits, labels.tolist(), strict=True)
    ]
    return torch.stack(items).sum() / len(items)


def test_the_loss_and_its_gradient_follow_the_formula() -> None:
    logits = torch.tensor([[1.5, -0.5], [0.25, 2.0], [-1.0, 3.0]])
    labels = torch.tensor([0, 0, 1])
    fast, slow = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss, expected = direction_loss(fast, labels), slow_direction_loss(slow, labels)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(fast.grad, slow.grad)
    assert float(direction_loss(torch.zeros(4, 2), labels.new_zeros(4))) == pytest.approx(
        math.log(2)
    )


def test_neither_the_order_of_clips_nor_the_names_of_the_classes_matter() -> None:
    generator = torch.Generator().manual_seed(1)
    logits, labels = torch.randn(5, 2, generator=generator), torch.tensor([0, 1, 1, 0, 1])
    loss, order = direction_loss(logits, labels), [3, 1, 4, 0, 2]
    torch.testing.assert_close(direction_loss(logits[order], labels[order]), loss)
    torch.testing.assert_close(direction_loss(logits.flip(1), 1 - labels), loss)


def span(
    rate: int,
    start: int,
    *,
    is_reversed: bool,
    backwards: bool = False,
    tasks: PretextTasks = TASKS,
) -> SpanSample:
    """What the loader reads of the video, or of the same video played `backwards`."""
    video_NHWC = VIDEO_NHWC.flip(0) if backwards else VIDEO_NHWC
    record = VideoRecord(key="one", num_bytes=1, etag="", num_frames=LENGTH)
    dataset = ClipDataset([record], CLIP, tasks.span_sampling(CLIP.length), 3)
    draw = dataclasses.replace(
        dataset.draw(0, 0),
        rate=rate,
        rate_label=RATES.index(rate),
        start=start,
        is_reversed=is_reversed,
    )
    positions, frames = dataset.positions(draw)
    return SpanSample(
        video_NHWC[list(frames)],
        positions,
        rate,
        draw.rate_label,
        0,
        start,
        draw.epoch,
        draw.index,
        is_reversed,
    )


def batch_of(*samples: SpanSample, tasks: PretextTasks = TASKS) -> PretextBatch:
    return build_pretext_batch(SpanBatch(samples), CLIP, tasks, "cpu", ("seed",))


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize(("upsampling", "mode"), [(1, "none"), (2, "dpau"), (3, "gauss")])
def test_a_reversed_span_is_a_span_of_the_reversed_video(
    rate: int, upsampling: int, mode: str
) -> None:
    """To every task but this one: clip, target, weights and flags are those of the video that runs
    backwards.
    """
    slow_motion = SlowMotion(upsampling=upsampling, attention=AttentionConfig(mode=mode))
    tasks = dataclasses.replace(TASKS, slow_motion=slow_motion)
    start = 7
    mirrored = LENGTH - start - span_length(CLIP.length, rate)
    backwards = batch_of(span(rate, start, is_reversed=True, tasks=tasks), tasks=tasks)
    forwards = span(rate, mirrored, is_reversed=False, backwards=True, tasks=tasks)
    expected = batch_of(forwards, tasks=tasks)
    assert torch.equal(backwards.clip_BCTHW, expected.clip_BCTHW)
    for field in dataclasses.fields(expected.targets["slow_motion"]):
        assert torch.equal(
            getattr(backwards.targets["slow_motion"], field.name),
            getattr(expected.targets["slow_motion"], field.name),
        ), field.name
    assert torch.equal(backwards.targets["playback_rate"], expected.targets["playback_rate"])
    assert backwards.targets["playing_direction"].tolist() == [1]
    assert expected.targets["playing_direction"].tolist() == [0]
    clip_BCTHW, target_BCTHW = backwards.clip_BCTHW, backwards.targets["slow_motion"].target_BCTHW
    assert torch.equal(target_BCTHW[:, :, ::upsampling], clip_BCTHW), "aligned frame by frame"


def test_directions_are_drawn_alike_and_by_seed_epoch_and_index_alone() -> None:
    records = [
        VideoRecord(key=str(number), num_bytes=1, etag="", num_frames=LENGTH)
        for number in range(40)
    ]
    dataset = ClipDataset(records, CLIP, TASKS.span_sampling(CLIP.length), 3)
    drawn = [dataset.draw(epoch, index).is_reversed for epoch in range(25) for index in range(40)]
    assert 440 < sum(drawn) < 560
    again = ClipDataset(records, CLIP, TASKS.span_sampling(CLIP.length), 3)
    assert again.draw(24, 39).is_reversed == drawn[-1]
    off = PretextTasks(playback_rate=PlaybackRate(rates="1-2-4")).span_sampling(CLIP.length)
    plain = ClipDataset(records, CLIP, off, 3)
    for index in range(40):
        draw = dataset.draw(1, index)
        assert plain.draw(1, index) == dataclasses.replace(draw, is_reversed=False), (
            "the same videos, rates and starts"
        )


def test_it_is_off_by_default_and_then_costs_nothing() -> None:
    assert list(PretextTasks().active) == ["playback_rate", "slow_motion"]
    assert PretextTasks().span_sampling(16).reversed_share == 0
    network = build_network(PretrainConfig(encoder=EncoderConfig(name="c3d_small")))
    assert list(network.heads) == ["playback_rate", "slow_motion"]
    on = build_network(CONFIG)
    assert list(on.heads) == [*network.heads, "playing_direction"]
    assert [tuple(one.shape) for one in on.classifier_parameters()] == [
        (3, 64),
        (3,),
        (2, 64),
        (2,),
    ]


def six_spans() -> list[SpanSample]:
    return [
        span(rate, start, is_reversed=is_reversed)
        for rate, start, is_reversed in (
            (1, 0, False),
            (2, 3, True),
            (4, 5, False),
            (1, 9, True),
            (2, 11, True),
            (4, 20, False),
        )
    ]


def test_a_step_reports_the_direction_and_learns_it() -> None:
    learner, batch = Learner(CONFIG, World.alone(), 1), batch_of(*six_spans())
    steps = [learner.step(batch).read() for _ in range(15)]
    for numbers in steps:
        parts = {
            "train/rate_loss": 0.1,
            "train/reconstruction_loss": 1.0,
            "train/direction_loss": 0.2,
        }
        total = sum(weight * numbers[name] for name, weight in parts.items())
        assert numbers["train/loss"] == pytest.approx(total, rel=1e-5)
        assert round(6 * numbers["train/direction_accuracy"], 6) in range(7)
    assert steps[-1]["train/direction_loss"] < 0.5 * steps[0]["train/direction_loss"]


def learn(world: World) -> dict[str, Any]:
    """Two steps on this worker's half, batch norm as in evaluation."""
    learner = Learner(CONFIG, world, 1)
    keep_mode = lambda mode=True: torch.nn.Module.train(learner.network, False)  # noqa: E731
    learner.network.train = keep_mode  # type: ignore[method-assign]
    samples = six_spans()
    if world.size > 1:
        samples = samples[:4] if world.rank == 0 else samples[4:]
    batch = batch_of(*samples)
    numbers = [learner.step(batch).read() for _ in range(2)]
    weights = {
        name: tensor.detach().clone() for name, tensor in learner.network.state_dict().items()
    }
    return {"numbers": numbers, "weights": weights}


def test_two_workers_learn_what_one_learns(tmp_path: Any) -> None:
    """Values and, by the weights after two steps, gradients."""
    alone = learn(World.alone())
    for answer in run_workers(learn, tmp_path):
        for step in (0, 1):
            expected = pytest.approx(alone["numbers"][step], rel=1e-4, abs=1e-6)
            assert answer["numbers"][step] == expected
        for name, weight in alone["weights"].items():
            torch.testing.assert_close(
                answer["weights"][name], weight, rtol=1e-4, atol=1e-6, msg=name
            )
