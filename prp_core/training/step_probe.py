"""The probe of a group of workers: a sum over all of them, and the seconds of a training step.

It runs before a run is started, on random clips of the run's shapes, so that it needs no videos.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from prp_core.data.spans import SpanBatch, SpanSample
from prp_core.pretext.targets import PretextBatch, build_pretext_batch
from prp_core.training.learner import Learner
from prp_core.training.pretrain_config import PretrainConfig
from prp_core.world import World

MAX_STEPS = 4  # the first one is not timed: it chooses kernels and allocates
ENOUGH_SECONDS = 8.0  # no further step is begun after these


@dataclass(frozen=True)
class StepProbe:
    """What a worker found: the sum over the workers of 1 + rank, and the seconds of a step.

    `step_seconds` is the shortest of the steps that were timed.
    """

    total: float
    step_seconds: float

    def is_right_for(self, num_workers: int) -> bool:
        """Whether the sum is that of `num_workers` workers."""
        return self.total == num_workers * (num_workers + 1) / 2


def probe_step(
    config: PretrainConfig, world: World, clock: Callable[[], float] = time.perf_counter
) -> StepProbe:
    """Sum over the workers of `world`, then train `MAX_STEPS` steps, fewer where they take long.

    Every worker calls it. Reading, decoding and preparing videos are not in the time.
    """
    ones = torch.full((1,), 1.0 + world.rank, device=world.device)
    total = float(world.sum_tensor(ones).item())
    learner = Learner(config, world, steps_per_epoch=1)
    batch = random_batch(config, world)
    seconds: list[float] = []
    begin = clock()
    for _ in range(MAX_STEPS):
        started = clock()
        learner.step(batch).read()
        seconds.append(clock() - started)
        if world.from_first(clock() - begin > ENOUGH_SECONDS):
            break
    return StepProbe(total, min(seconds[1:] or seconds))


def random_batch(config: PretrainConfig, world: World) -> PretextBatch:
    """This worker's share of a batch: random frames, arranged as those of videos are."""
    sampling = config.pretext.span_sampling(config.clip.length)
    size = max(1, config.training.batch_size // world.size)
    samples = []
    for index in range(size):
        label = index % len(sampling.rates)
        rate = sampling.rates[label]
        shape = (len(sampling.positions[rate]), config.clip.resize_height, config.clip.resize_width)
        frames_NHWC = torch.randint(256, (*shape, 3), dtype=torch.uint8)
        samples.append(
            SpanSample(frames_NHWC, sampling.positions[rate], rate, label, index, 0, 0, index)
        )
    key = (config.seed, "probe", world.rank)
    spans = SpanBatch(tuple(samples))
    return build_pretext_batch(spans, config.clip, config.pretext, world.device, key)
