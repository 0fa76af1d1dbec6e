"""A training step waits for no value from its device, and two copies bring its batch there.

On a meta tensor a read of a value is an error, so a step that runs there whole reads none; what a
CPU does is counted operator by operator.
"""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from prp_core.data.augmentation import AugmentationConfig
from prp_core.data.augmentation.blur import Blur
from prp_core.data.augmentation.colour_jitter import ColourJitter
from prp_core.data.clip_config import ClipConfig
from prp_core.data.colour import PlanarFrames
from prp_core.data.device_feed import DeviceFeed
from prp_core.data.spans import SpanBatch
from prp_core.encoders.encoder_config import EncoderConfig
from prp_core.errors import DivergedError
from prp_core.pretext.pretext_config import PretextTasks
from prp_core.pretext.targets import PackedBatch, assemble_batch, build_pretext_batch, pack_batch
from prp_core.step_numbers import EPOCH, WINDOW, StepNumbers, StepSums
from prp_core.training.learner import Learner
from prp_core.training.pretrain_config import PretrainConfig
from prp_core.training.training_config import TrainingConfig
from prp_core.world import World
from tests.formula_clip import formula_sample

CPU = torch.device("cpu")
META = torch.device("meta")
CONFIG = PretrainConfig(
    encoder=EncoderConfig(name="r3d_small"),
    clip=ClipConfig(
        length=8,
        resize_height=36,
        resize_width=36,
        crop=32,
        augmentation=AugmentationConfig(
            colour_jitter=ColourJitter(strength=0.5),
            blur=Blur(probability=0.5, per_frame=True),
        ),
    ),
    training=TrainingConfig(batch_size=4, learning_rate=1e-3),
)


class Operators(TorchDispatchMode):
    """Counts operators, and copies from the CPU to another device."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Any = (), named: Any = None
    ) -> Any:
        result = function(*arguments, **(named or {}))
        self.counts[function.overloadpacket.__name__] += 1
        tensors = [value for value in arguments if isinstance(value, torch.Tensor)]
        if tensors and isinstance(result, torch.Tensor) and result.device != tensors[-1].device:
            self.counts["copies"] += 1
        return result


def spans_of(config: PretrainConfig = CONFIG, size: int = 40) -> SpanBatch:
    sampling = config.pretext.span_sampling(config.clip.length)
    return SpanBatch(
        tuple(
            formula_sample(rate, sampling.positions[rate], size=size, label=label, index=label)
            for label, rate in enumerate(sampling.rates)
        )
    )


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_no_value_is_read_between_two_windows(optimiser: str) -> None:
    training = dataclasses.replace(CONFIG.training, optimiser=optimiser, max_gradient_norm=1.0)
    config = dataclasses.replace(CONFIG, training=training)
    learner, sums = Learner(config, World.alone(META), 1), StepSums()
    with Operators() as operators:
        for _ in range(3):
            batch = build_pretext_batch(spans_of(), config.clip, config.pretext, META, (1,))
            numbers = learner.step(batch)
            assert numbers.values_N.device == META
            sums.add(numbers)
    assert operators.counts["copies"] == 3 * 2, "pixels and numbers"
    with pytest.raises((NotImplementedError, RuntimeError)):
        sums.means(WINDOW)


def test_a_cpu_does_the_same_without_a_read() -> None:
    learner, sums = Learner(CONFIG, World.alone(), 1), StepSums()
    batch = build_pretext_batch(spans_of(), CONFIG.clip, CONFIG.pretext, CPU, (1,))
    losses = []
    with Operators() as operators:
        for _ in range(2):
            numbers = learner.step(batch)
            sums.add(numbers)
            losses.append(numbers)
    assert operators.counts["_local_scalar_dense"] == 0 and operators.counts["convolution"] > 0
    read = [numbers.read() for numbers in losses]
    assert sums.means(WINDOW) == {name: (read[0][name] + read[1][name]) / 2 for name in read[0]}


def test_frames_that_a_gpu_decoded_stay_there() -> None:
    """Of `loader.decode_jpegs_on = "device"`; there are planes and pictures on the CPU as well."""
    clip = dataclasses.replace(CONFIG.clip, augmentation=AugmentationConfig())
    samples = list(spans_of().samples)
    stored: torch.Tensor = samples[0].frames_NHWC  # type: ignore[assignment]
    planes = torch.zeros(len(stored), 60, 40, dtype=torch.uint8)
    samples[0] = dataclasses.replace(samples[0], frames_NHWC=stored.to(META))
    samples[2] = dataclasses.replace(
        samples[2],
        frames_NHWC=PlanarFrames(planes, "bt601", False),
        positions=samples[2].positions[: len(planes)],
    )
    tasks = PretextTasks()
    spans = SpanBatch((*samples[:2],))
    packed = pack_batch(spans, clip, tasks, META, (1,))
    assert packed.frames.packed.numel() == samples[1].frames_NHWC[:].numel()  # type: ignore[index]
    batch = assemble_batch(packed.to(META), clip, tasks)
    assert batch.clip_BCTHW.device == META and batch.clip_BCTHW.shape == (2, 3, 8, 32, 32)


def test_a_feed_with_a_thread_yields_what_one_without_does() -> None:
    items = [spans_of(size=size) for size in (36, 40, 44)]

    def pack(spans: SpanBatch) -> PackedBatch:
        names.add(threading.current_thread().name)
        return pack_batch(spans, CONFIG.clip, CONFIG.pretext, CPU, (1,))

    def fed(threaded: bool) -> list[torch.Tensor]:
        feed = DeviceFeed(pack, CPU, threaded=threaded)
        clips = [
            assemble_batch(packed, CONFIG.clip, CONFIG.pretext).clip_BCTHW
            for _ in range(2)
            for packed in feed.batches(iter(items))
        ]
        feed.close()
        return clips

    names: set[str] = set()
    plain = fed(False)
    assert names == {threading.current_thread().name}
    names.clear()
    assert all(torch.equal(one, other) for one, other in zip(plain, fed(True), strict=True))
    assert names == {"device-feed_0"}, "one thread for both epochs"


def test_an_error_of_the_loader_comes_out_of_the_feed() -> None:
    def items() -> Iterator[SpanBatch]:
        yield spans_of()
        raise OSError("no more")

    feed = DeviceFeed(lambda spans: pack_batch(spans, CONFIG.clip, CONFIG.pretext, CPU, (1,)), CPU)
    for threaded in (False, True):
        feed = DeviceFeed(feed._pack, CPU, threaded=threaded)
        batches = feed.batches(items())
        next(batches)
        with pytest.raises(OSError, match="no more"):
            next(batches)
        feed.close()


def numbers_of(step: int, loss: float) -> StepNumbers:
    return StepNumbers(step, ("train/loss", "other"), torch.tensor([loss, 2.0]).double())


def test_what_was_not_finite_is_found_later_with_its_step() -> None:
    sums = StepSums()
    for step, loss in enumerate((1.0, float("inf"), float("nan"), 1.0), start=7):
        sums.add(numbers_of(step, loss))
    for row in (EPOCH, WINDOW):
        with pytest.raises(DivergedError, match="train/loss is inf at step 8"):
            sums.means(row)


def test_sums_survive_a_resume_to_the_last_digit() -> None:
    losses = [0.1, 0.2, 0.3, 0.7, 1.1]
    whole, first, second = StepSums(), StepSums(), StepSums()
    for step, loss in enumerate(losses, start=1):
        whole.add(numbers_of(step, loss))
        (first if step < 3 else second).add(numbers_of(step, loss))
        if step == 2:
            assert first.means(WINDOW)["train/loss"] == pytest.approx(0.15)
            first.clear(WINDOW), whole.clear(WINDOW)
            second.load_state(EPOCH, first.state(EPOCH))
            second.load_state(WINDOW, first.state(WINDOW))
    assert second.means(EPOCH) == whole.means(EPOCH)
    assert second.means(WINDOW) == whole.means(WINDOW)
    assert whole.means(WINDOW)["train/loss"] == pytest.approx(0.7)
    whole.clear(EPOCH)
    assert whole.means(EPOCH) == {}
