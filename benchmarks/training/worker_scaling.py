"""The efficiency of training on several workers (gloo), beside one worker, as ratios.

    python -m benchmarks.training.worker_scaling                   1, 2 and 4 workers, in a minute
    python -m benchmarks.training.worker_scaling --workers 1 2 --clips 8 --steps 20

Each worker has one thread and takes steps on `--clips` clips of its own (weak scaling: the batch
grows with the workers), of R3D small on 8 frames of 32 x 32. Two ratios against one worker: CPU
time a clip, which other processes on the machine do not change much, and clips a second by the
clock, which says something only where there is a free core for each worker.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as processes

from benchmarks.training.ladder_steps import Rung, Size, config_of, made_up_batches
from prp_core.pretext.targets import build_pretext_batch
from prp_core.step_numbers import WINDOW, StepSums
from prp_core.training.learner import Learner
from prp_core.world import World

RUNG = Rung("as trained", channels_last=True, fused_decoder=True)


@dataclass(frozen=True)
class Cost:
    """What `num_workers` needed: CPU-seconds of all of them a clip, and clips a second."""

    num_workers: int
    cpu_seconds: float
    clips_per_second: float


def main(words: Sequence[str] | None = None) -> int:
    """Measure each number of workers and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--clips", type=int, default=8, help="clips of each worker (8)")
    parser.add_argument("--steps", type=int, default=20, help="timed steps (20)")
    parser.add_argument("--batch-norm", choices=("worker", "synced"), default="worker")
    arguments = parser.parse_args(words)
    counts = sorted({1, *arguments.workers})
    costs = [
        cost_of(count, arguments.clips, arguments.steps, arguments.batch_norm) for count in counts
    ]
    print(
        f"{len(os.sched_getaffinity(0))} CPU cores, one thread a worker, torch "
        f"{torch.__version__}, Python {platform.python_version()}, {arguments.clips} clips a "
        f"worker, {arguments.steps} steps, batch norm {arguments.batch_norm}\n"
    )
    print("\n".join(table(costs)))
    return 0


def table(costs: Sequence[Cost]) -> list[str]:
    """A row for each number of workers; `costs` begins with one worker's."""
    one = costs[0]
    assert one.num_workers == 1, costs
    rows = [
        f"| {cost.num_workers} | {1e3 * cost.cpu_seconds:.2f} | "
        f"{one.cpu_seconds / cost.cpu_seconds:.2f} | {cost.clips_per_second:.1f} | "
        f"{cost.clips_per_second / (cost.num_workers * one.clips_per_second):.2f} |"
        for cost in costs
    ]
    return [
        "| workers | CPU-ms a clip | efficiency by CPU time | clips a second | by the clock |",
        "|---|---|---|---|---|",
        *rows,
    ]


def cost_of(num_workers: int, num_clips: int, num_steps: int, batch_norm: str) -> Cost:
    """The cost of steps on `num_workers` new processes."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = (num_workers, folder, num_clips, num_steps, batch_norm)
        processes.start_processes(_work, args=arguments, nprocs=num_workers, start_method="spawn")
        answers = [torch.load(Path(folder) / f"{rank}.pt") for rank in range(num_workers)]
    clips = num_workers * num_clips * num_steps
    return Cost(
        num_workers,
        sum(answer["cpu"] for answer in answers) / clips,
        clips / max(answer["wall"] for answer in answers),
    )


def _work(
    rank: int, num_workers: int, folder: str, num_clips: int, num_steps: int, batch_norm: str
) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=num_workers,
        timeout=timedelta(minutes=5),
    )
    world = World.of_process_group("cpu")
    size = Size("r3d_small", num_clips, length=8, crop=32, height=36, width=40)
    config = config_of(RUNG, size)
    spans = made_up_batches(config, size, 1)[0]
    whole = config_of(
        RUNG,
        Size("r3d_small", num_clips * num_workers, length=8, crop=32, height=36, width=40),
        batch_norm=batch_norm,
    )
    learner = Learner(whole, world, steps_per_epoch=1000)
    sums = StepSums()
    cpu = wall = 0.0
    for step in range(2 + num_steps):
        if step == 2:
            sums.means(WINDOW)
            world.barrier()
            cpu, wall = time.process_time(), time.perf_counter()
        batch = build_pretext_batch(spans, config.clip, config.pretext, world.device, (rank, step))
        sums.add(learner.step(batch))
    sums.means(WINDOW)
    answer = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    torch.save(answer, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    sys.exit(main())
