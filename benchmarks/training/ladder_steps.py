"""The rungs of the training ladder, and the timed steps of each on made-up frames."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace

import torch

from prp_core.data.clip_config import ClipConfig
from prp_core.data.device_feed import DeviceFeed
from prp_core.data.spans import SpanBatch, SpanSample
from prp_core.encoders.encoder_config import EncoderConfig
from prp_core.pretext.targets import PackedBatch, assemble_batch, pack_batch
from prp_core.step_numbers import WINDOW, StepNumbers, StepSums
from prp_core.training.learner import Learner
from prp_core.training.pretrain_config import PretrainConfig
from prp_core.training.training_config import TrainingConfig
from prp_core.world import World

NUM_BATCHES = 3


@dataclass(frozen=True)
class Rung:
    """A way to take a step; each rung of a ladder changes one thing of the rung before."""

    name: str
    precision: str = "float32"
    channels_last: bool = False
    feed: bool = False
    """Pinned copies one batch ahead, numbers read at the end; else both block at each step."""
    fused_optimiser: bool = False
    compile: str = "off"
    fused_decoder: bool = False
    padded_channels: bool = False


PAPERS_WAY = Rung("as written: strict float32, NCDHW, eager, blocking")


def ladder(device: torch.device, *, compiles: bool = True) -> list[Rung]:
    """The rungs, slowest first: on a CPU those that a CPU has."""
    rungs = [PAPERS_WAY]

    def climb(name: str, **changes: object) -> None:
        rungs.append(replace(rungs[-1], name=name, **changes))  # type: ignore[arg-type]

    is_gpu = device.type == "cuda"
    if is_gpu:
        climb("TF32", precision="tf32")
    climb("+ channels last", channels_last=True)
    if is_gpu:
        climb("+ bfloat16", precision="bfloat16")
        climb("+ device feed", feed=True)
        climb("+ fused optimiser", fused_optimiser=True)
        climb("+ compile", compile="default")
    climb("+ fused decoder", fused_decoder=True)
    climb("+ padded channels", padded_channels=True)
    if is_gpu:
        climb("+ CUDA graphs", compile="cuda-graphs")
    elif compiles:
        climb("+ compile", compile="default")
    return rungs


@dataclass(frozen=True)
class Size:
    """`batch_size` clips of `length` x `crop` x `crop`, cropped from `height` x `width`."""

    encoder: str
    batch_size: int
    length: int = 16
    crop: int = 112
    height: int = 128
    width: int = 171


TOY = Size("r3d_small", batch_size=2, length=8, crop=32, height=36, width=40)


def config_of(rung: Rung, size: Size, *, seed: int = 632, **training: object) -> PretrainConfig:
    """The config of a run that steps as `rung` says; the learning rate is one that stays finite."""
    values = {"learning_rate": 1e-3, **training}
    return PretrainConfig(
        encoder=EncoderConfig(name=size.encoder),
        clip=ClipConfig(
            length=size.length,
            resize_height=size.height,
            resize_width=size.width,
            crop=size.crop,
            random_crop=True,
            flip_probability=0.5,
        ),
        training=TrainingConfig(
            batch_size=size.batch_size,
            precision=rung.precision,
            compile=rung.compile,
            pad_channels=rung.padded_channels,
            **values,  # type: ignore[arg-type]
        ),
        seed=seed,
    )


def made_up_batches(config: PretrainConfig, size: Size, number: int) -> list[SpanBatch]:
    """`number` batches of spans: a bright square that moves over noise, its speed the rate."""
    generator = torch.Generator().manual_seed(config.seed)
    sampling = config.pretext.span_sampling(size.length)
    ground = torch.randint(
        0, 160, (size.height, size.width, 3), dtype=torch.uint8, generator=generator
    )
    batches = []
    for batch in range(number):
        samples = []
        for place in range(size.batch_size):
            label = (batch + place) % len(sampling.rates)
            positions = sampling.positions[sampling.rates[label]]
            frames = ground.expand(len(positions), -1, -1, -1).clone()
            side = size.height // 4
            for frame, position in zip(frames, positions, strict=True):
                top = (3 * place + position) % (size.height - side)
                left = (5 * place + 2 * position) % (size.width - side)
                frame[top : top + side, left : left + side] = 255 - 10 * place % 200
            index = batch * size.batch_size + place
            samples.append(
                SpanSample(
                    frames, positions, sampling.rates[label], label, index, 0, epoch=0, index=index
                )
            )
        batches.append(SpanBatch(tuple(samples)))
    return batches


class Measured:
    """A learner on `device` that steps as `rung` says."""

    def __init__(
        self,
        rung: Rung,
        size: Size,
        device: torch.device,
        *,
        seed: int = 632,
        num_batches: int = NUM_BATCHES,
        **training: object,
    ) -> None:
        self.rung = rung
        self.config = config_of(rung, size, seed=seed, **training)
        self.device = device
        self.spans = made_up_batches(self.config, size, num_batches)
        self.learner = Learner(self.config, World.alone(device), steps_per_epoch=1000)
        self.learner.network.fuse_decoders(None if rung.fused_decoder else False)
        if not rung.channels_last:
            layout = torch.contiguous_format
            self.learner.network.to(memory_format=layout)  # type: ignore[call-overload]
        if not rung.fused_optimiser:
            for group in self.learner._optimiser.param_groups:
                group["fused"] = None

    def _pack(self, spans: SpanBatch) -> PackedBatch:
        place = self.device if self.rung.feed else torch.device("cpu")  # not pinned: it blocks
        return pack_batch(spans, self.config.clip, self.config.pretext, place, (0,))

    def step(self, packed: PackedBatch) -> StepNumbers:
        """One step on a batch that is on the device."""
        batch = assemble_batch(packed, self.config.clip, self.config.pretext)
        if not self.rung.channels_last:
            batch = replace(batch, clip_BCTHW=batch.clip_BCTHW.contiguous())
        return self.learner.step(batch)

    def steps(self, number: int) -> Iterator[StepNumbers]:
        """So many steps, as the rung says."""
        stream = itertools.islice(itertools.cycle(self.spans), number)
        if not self.rung.feed:
            for spans in stream:
                numbers = self.step(self._pack(spans).to(self.device))
                numbers.read()
                yield numbers
            return
        feed: DeviceFeed[SpanBatch] = DeviceFeed(self._pack, self.device)
        with closing(feed), closing(feed.batches(stream)) as batches:
            for packed in batches:
                yield self.step(packed)

    def seconds_per_step(self, warm_up: int, timed: int) -> float:
        """The mean of `timed` steps after `warm_up` others, on a CPU in CPU-seconds.

        The device is waited for at both ends.
        """
        clock = time.perf_counter if self.device.type == "cuda" else time.process_time
        sums = StepSums()
        started = 0.0
        for place, numbers in enumerate(self.steps(warm_up + timed), start=1):
            sums.add(numbers)
            if place == warm_up:
                sums.means(WINDOW)
                started = clock()
        sums.means(WINDOW)
        return (clock() - started) / timed
