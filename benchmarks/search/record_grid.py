"""Trains every cell of a grid of the demo's space and writes what each scored at each rung and had cost, for `replay.py`.

    uv run python -m benchmarks.search.record_grid --out grid.jsonl             # 48 cells, one after the other; start it again to go on
    uv run python -m benchmarks.search.record_grid --out grid.jsonl --cells 2   # only the next two
    uv run python -m benchmarks.search.record_grid --out part1.jsonl --share 1/2    # every second cell, for a second process or machine

One process, one thread, no Ray. A cell's trial has the preset's seed, as every trial of a sweep has; `--set` changes the base config. A line holds
the values, recall@1 on the validation part at each rung, and the CPU-seconds until then: this process's and its decoders', evaluations included.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.search.grid import Cell, cells_to_record, read_grid, write_cell
from orchestrator import demo_videos
from orchestrator.index_run import index
from orchestrator.run_config import RunConfig, load_config, with_values
from orchestrator.sweep_spec import home_dir
from prp_core.data.manifest import Parts, parts
from prp_core.data.object_store import LocalStore
from prp_core.data.video_source import VideoSource
from prp_core.training.checkpoint import CheckpointFolder
from prp_core.training.loop import PretrainData, pretrain
from prp_core.training.reporting import MemoryReporter
from prp_core.world import World, use_threads


def main() -> None:
    """Record what is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON lines; cells that are there are not trained again")
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="PATH=VALUE")
    parser.add_argument("--cells", type=int, default=1 << 20, help="stop after so many")
    parser.add_argument("--share", default="1/1", metavar="I/N", help="only the I-th of every N cells")
    arguments = parser.parse_args()
    use_threads(1)
    base = load_config(arguments.preset, arguments.settings)
    folder = demo_videos.make(home_dir() / "demo-videos")
    manifest, _ = index(folder, loader=base.loader)
    split = parts(manifest, val_fraction=base.source.val_fraction, seed=base.seed)
    place, among = (int(part) for part in arguments.share.split("/"))
    known = [cell.values for cell in read_grid(arguments.out)]
    missing = [values for values in cells_to_record()[place - 1 :: among] if values not in known][: arguments.cells]
    for number, values in enumerate(missing, start=1):
        cell = record(with_values(base, values), values, folder, split)
        write_cell(arguments.out, cell)
        scores = ", ".join(f"{epoch}: {score:.3f}" for epoch, score in cell.scores.items())
        print(f"{number} of {len(missing)}: {', '.join(map(str, values.values()))} -> {scores} for {cell.cost:.0f} CPU-seconds", flush=True)


def record(config: RunConfig, values: Mapping[str, object], videos: Path, split: Parts) -> Cell:
    """Train one cell to its end. A new source each time: its decoders' CPU-seconds count when they have ended, so theirs are in the last rung."""
    reporter, started = TimedReporter(), cpu_seconds()
    with tempfile.TemporaryDirectory() as folder:
        with VideoSource(LocalStore(videos), None, config.loader) as source:
            pretrain(config, PretrainData(source, split), World.alone(), checkpoints=CheckpointFolder(LocalStore(Path(folder))), reporter=reporter)
        decoding = cpu_seconds() - started - (reporter.times[-1] - started)
    scores = {epoch: metrics[config.sweep.objective] for epoch, _, metrics in reporter.rungs}
    own = {epoch: at - started for epoch, at in zip(scores, reporter.times, strict=True)}
    last = max(own)
    return Cell(dict(values), scores, {epoch: round(seconds + decoding * epoch / last, 2) for epoch, seconds in own.items()})


class TimedReporter(MemoryReporter):
    """Also notes the CPU-seconds at each rung."""

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        super().__init__()
        self._clock = clock or cpu_seconds
        self.times: list[float] = []

    def at_rung(self, *, epoch: int, step: int, metrics: Mapping[str, float]) -> bool:
        """Note and go on."""
        self.times.append(self._clock())
        return super().at_rung(epoch=epoch, step=step, metrics=metrics)


def cpu_seconds() -> float:
    """CPU time of this process and of its children that have ended."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


if __name__ == "__main__":
    main()
