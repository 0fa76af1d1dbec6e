"""The cost of what surrounds a training step, in per cent of the step: CPU time of one worker.

    python -m benchmarks.training.system_cost                  the demo's network, in half a minute
    python -m benchmarks.training.system_cost --checkpoint r3d what one checkpoint of R3D costs

A whole run (`pretrain`) of the demo's preset on a tiny corpus, with checkpoints in a local folder
and the weights of its rungs stored for evaluation elsewhere. Counted by thread, so that other
processes and waiting for a disk do not enter: reports (with the load of the node, their messages
pickled as they are sent, but sent nowhere), checkpoints (the copy, and apart from it the thread
that encodes and writes), submitted rungs and questions whether to stop.
"""

from __future__ import annotations

import argparse
import functools
import pickle
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import prp_core.training.loop as loop
from orchestrator.config.run_config import RunConfig, load_config, with_values
from orchestrator.trial.system_metrics import SystemMetrics
from prp_core.data.object_store import LocalStore
from prp_core.data.video_source import VideoSource
from prp_core.encoders.encoder_config import EncoderConfig
from prp_core.reporting import MemoryReporter
from prp_core.training.checkpoint import CheckpointFolder
from prp_core.training.checkpoint_writer import CheckpointWriter
from prp_core.training.learner import Learner
from prp_core.training.pretrain_config import PretrainConfig
from prp_core.training.progress_state import (
    Progress,
    TrainingPart,
    save_progress,
)
from prp_core.training.rung_weights import write_rung
from prp_core.world import World
from tests.tiny_corpus import LOADER, make_corpus

STEP = "step"
COPY = "checkpoints: copying, agreeing"
WRITE = "checkpoints: the thread that writes"
REPORT = "reports"
JUDGE = "rungs and questions"
EPOCHS = 12


class Meter:
    """CPU-seconds of threads by what they do; what is measured within another is counted twice."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def measured(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, whose CPU time is counted under `name`."""

        @functools.wraps(function)
        def timed(*arguments: Any, **named: Any) -> Any:
            started = time.thread_time()
            try:
                return function(*arguments, **named)
            finally:
                self.seconds[name] += time.thread_time() - started

        return timed


class SendingReporter(MemoryReporter):
    """Pickles what it would send to a coordinator, with the node's load."""

    def __init__(self) -> None:
        super().__init__()
        self._system = SystemMetrics()

    def log(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Make the message of a point."""
        pickle.dumps(({**metrics, **self._system.sample()}, step))


class StoringEvaluator:
    """Stores the weights of rungs, as a trial does; never says stop."""

    def __init__(self, folder: Path) -> None:
        self._store = LocalStore(folder)

    def submit_rung(self, *, epoch: int, step: int, weights: Mapping[str, torch.Tensor]) -> None:
        """Store the weights."""
        write_rung(self._store, "rungs", epoch=epoch, step=step, weights=weights)

    def should_stop(self) -> bool:
        """Never."""
        return False


def main(words: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--checkpoint", metavar="ENCODER", help="one checkpoint of this encoder")
    arguments = parser.parse_args(words)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.checkpoint:
            print("\n".join(checkpoint_lines(arguments.checkpoint, Path(folder))))
        else:
            print("\n".join(table(run_demo(Path(folder)).seconds)))
    return 0


def table(seconds: Mapping[str, float]) -> list[str]:
    """The parts in per cent of the steps, and their sum."""
    parts = [name for name in (REPORT, JUDGE, COPY, WRITE) if name in seconds]
    shares = {name: 100 * seconds[name] / seconds[STEP] for name in parts}
    return [
        f"steps: {seconds[STEP]:.2f} CPU-seconds",
        *(f"{name}: {share:.2f} % of them" for name, share in shares.items()),
        f"together: {sum(shares.values()):.2f} %",
    ]


def run_demo(folder: Path) -> Meter:
    """The meter of a run of the demo's preset of `EPOCHS` epochs of five steps."""
    meter = Meter()
    parts = make_corpus(folder / "videos", num_train=40, num_val=4)
    config: RunConfig = with_values(
        load_config("demo"),
        {"training.num_epochs": EPOCHS, "pretext.playback_rate.rates": "1-2-4"},
    )
    originals = {name: getattr(loop, name) for name in ("assemble_batch", "pack_batch")}
    for name, function in originals.items():
        setattr(loop, name, meter.measured(STEP, function))
    measured = [
        (Learner, "step", STEP),
        (loop.PretrainRun, "_save", COPY),
        (CheckpointWriter, "says", COPY),
        (CheckpointWriter, "listen", COPY),
        (CheckpointWriter, "_write", WRITE),
        (CheckpointWriter, "_commit", WRITE),
        (loop.PretrainRun, "_log", REPORT),
        (loop.PretrainRun, "submit_rung", JUDGE),
        (loop.PretrainRun, "_should_stop", JUDGE),
    ]
    kept = [(owner, name, getattr(owner, name)) for owner, name, _ in measured]
    for owner, name, kind in measured:
        setattr(owner, name, meter.measured(kind, getattr(owner, name)))
    try:
        with VideoSource(LocalStore(folder / "videos"), None, LOADER) as source:
            loop.pretrain(
                config,
                loop.PretrainData(source, parts),
                World.alone(),
                checkpoints=CheckpointFolder(LocalStore(folder / "kept")),
                reporter=SendingReporter(),
                evaluator=StoringEvaluator(folder / "kept"),
                clock=time.thread_time,  # as on an idle machine, whatever else runs here
            )
    finally:
        for owner, name, function in kept:
            setattr(owner, name, function)
        for name, function in originals.items():
            setattr(loop, name, function)
    return meter


def checkpoint_lines(encoder: str, folder: Path) -> list[str]:
    """What the second checkpoint of a run with `encoder` costs the training thread and the other.

    The first one allocates.
    """
    config = PretrainConfig(encoder=EncoderConfig(name=encoder))
    world = World.alone()
    learner = Learner(config, world, 100)
    for parameter in learner.network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    learner._optimiser.step()
    writer = CheckpointWriter(CheckpointFolder(LocalStore(folder)), world)
    part = TrainingPart(100, "")
    copying = writing = 0.0
    for step in (1, 2):
        learner.global_step = step
        everything = time.process_time()
        started = time.thread_time()
        save_progress(writer, Progress(), learner, config, part, world)
        copying = time.thread_time() - started
        writer.flush()
        writing = time.process_time() - everything - copying
    writer.close()
    num_bytes = sum(path.stat().st_size for path in folder.rglob("*.pt")) / 2
    return [
        f"one checkpoint of {encoder}: {num_bytes / 2**20:.0f} MiB",
        f"the training thread copies for {copying:.3f} CPU-seconds",
        f"the thread that writes takes {writing:.3f} CPU-seconds",
        f"every five minutes: {100 * (copying + writing) / 300:.2f} % of one core",
    ]


if __name__ == "__main__":
    sys.exit(main())
