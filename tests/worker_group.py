"""A process group of several real worker processes, each of which returns an answer."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as processes

from prp_core.world import World
from tests.warm_processes import in_environment, warm_context


def run_workers(
    work: Callable[..., Any], folder: Path, *arguments: Any, num_workers: int = 2
) -> list[Any]:
    """What ``work(world, *arguments)`` returns in each of `num_workers` new processes, by rank.

    `work` is a module's function; answers are tensors and plain values. `folder` is a place of this
    call's own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    warm_context()
    processes.start_processes(
        _worker,
        args=(dict(os.environ), num_workers, str(folder), work, arguments),
        nprocs=num_workers,
        start_method="forkserver",
    )
    return [torch.load(folder / f"answer.{rank}", weights_only=True) for rank in range(num_workers)]


def _worker(
    rank: int,
    environment: dict[str, str],
    size: int,
    folder: str,
    work: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> None:
    in_environment(environment, _work_in_group, rank, size, folder, work, arguments)


def _work_in_group(
    rank: int, size: int, folder: str, work: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=size,
        timeout=timedelta(seconds=90),
    )
    try:
        torch.save(work(World.of_process_group("cpu"), *arguments), f"{folder}/answer.{rank}")
    finally:
        dist.destroy_process_group()
