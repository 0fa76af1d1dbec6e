"""The cost of a training step by the pretext tasks that are on, in CPU-milliseconds on one thread.

    uv run python -m benchmarks.training.task_cost

Interleaved rounds, medians, on the demo's clips (8 frames of 32 x 32, batch 8, R3D small): frames
that the loader has to read for a batch, clips and targets of the batch, and the step itself.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import replace

import torch

from prp_core.data.clip_config import ClipConfig
from prp_core.data.spans import SpanBatch
from prp_core.encoders.encoder_config import EncoderConfig
from prp_core.pretext.pretext_config import PretextTasks
from prp_core.pretext.targets import build_pretext_batch
from prp_core.training.learner import Learner
from prp_core.training.pretrain_config import PretrainConfig
from prp_core.training.training_config import TrainingConfig
from prp_core.world import World
from tests.formula_clip import formula_sample

NUM_ROUNDS = 40
NUM_WARM_UP = 5
BATCH_SIZE = 8
PIXELS = 48
TASKS = PretextTasks()
OFF = {
    name: replace(getattr(TASKS, name), loss_weight=0.0)
    for name in ("playback_rate", "slow_motion", "playing_direction")
}
KINDS = {
    "playback rate and slow motion": TASKS,
    "playback rate": replace(TASKS, slow_motion=OFF["slow_motion"]),
    "slow motion": replace(TASKS, playback_rate=OFF["playback_rate"]),
    "all three": replace(
        TASKS, playing_direction=replace(TASKS.playing_direction, loss_weight=1.0)
    ),
}


class Measured:
    """One kind of run: its learner, its spans, and the CPU-seconds of its rounds."""

    def __init__(self, tasks: PretextTasks) -> None:
        self.config = PretrainConfig(
            encoder=EncoderConfig(name="r3d_small"),
            pretext=tasks,
            clip=ClipConfig(length=8, resize_height=36, resize_width=40, crop=32),
            training=TrainingConfig(batch_size=BATCH_SIZE),
        )
        sampling = tasks.span_sampling(self.config.clip.length)
        rates = [sampling.rates[index % len(sampling.rates)] for index in range(BATCH_SIZE)]
        samples = [
            formula_sample(
                rate,
                sampling.positions[rate],
                size=PIXELS,
                label=sampling.rates.index(rate),
                index=index,
            )
            for index, rate in enumerate(rates)
        ]
        self.spans = SpanBatch(tuple(samples))
        self.num_frames = sum(len(sample.positions) for sample in samples)
        self.learner = Learner(self.config, World.alone(), steps_per_epoch=1)
        self.batch_seconds: list[float] = []
        self.step_seconds: list[float] = []

    def round(self) -> None:
        """One batch and one step."""
        started = time.process_time()
        batch = build_pretext_batch(
            self.spans, self.config.clip, self.config.pretext, "cpu", ("cost",)
        )
        arranged = time.process_time()
        self.learner.step(batch)
        self.batch_seconds.append(arranged - started)
        self.step_seconds.append(time.process_time() - arranged)


def main() -> None:
    """Measure each of `KINDS` and print a row for it."""
    torch.set_num_threads(1)
    kinds = {name: Measured(tasks) for name, tasks in KINDS.items()}
    for _ in range(NUM_ROUNDS):
        for kind in kinds.values():
            kind.round()
    for name, kind in kinds.items():
        batch, step = (
            1e3 * statistics.median(seconds[NUM_WARM_UP:])
            for seconds in (kind.batch_seconds, kind.step_seconds)
        )
        print(f"{name}: {kind.num_frames} frames, batch {batch:.1f} ms, step {step:.1f} ms")


if __name__ == "__main__":
    main()
