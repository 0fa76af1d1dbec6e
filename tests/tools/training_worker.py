"""One of two workers that train the tiny corpus for long, with a watchdog of half a second.

`main` is for a process of its own. It prints ``step N`` for each step on rank 0; what it prints
lies in ``FOLDER/stdout-RANK`` and ``FOLDER/stderr-RANK``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from prp_core.data.object_store import LocalStore
from prp_core.data.video_source import VideoSource
from prp_core.reporting import MemoryReporter
from prp_core.training.checkpoint import CheckpointFolder
from prp_core.training.loop import pretrain
from prp_core.training.pretrain_data import PretrainData
from prp_core.training.watchdog import Signals, Watchdog
from prp_core.world import World
from tests.tiny_corpus import LOADER, make_corpus
from tests.tiny_training import config_with


class PrintingReporter(MemoryReporter):
    """Prints each step."""

    def log(self, metrics: Mapping[str, float], *, step: int) -> None:
        if "train/loss" in metrics:
            sys.stdout.write(f"step {step}\n")
            sys.stdout.flush()


def main(rank: int, folder: Path) -> None:
    """Train until something ends this process."""
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(folder / f"{name}-{rank}", os.O_WRONLY | os.O_CREAT), descriptor)
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=2,
        timeout=timedelta(minutes=30),
    )
    corpus = folder / f"videos-{rank}"
    parts = make_corpus(corpus)
    config = config_with(num_epochs=10_000, first_rung_epochs=10_000, checkpoint_every_steps=10_000)
    with (
        VideoSource(LocalStore(corpus), None, LOADER) as source,
        Watchdog(0.5) as watchdog,
    ):
        pretrain(
            config,
            PretrainData(source, parts),
            World.of_process_group("cpu"),
            checkpoints=CheckpointFolder(LocalStore(folder / "checkpoints")),
            reporter=PrintingReporter(),
            signals=Signals(watchdog),
        )
