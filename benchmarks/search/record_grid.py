"""Records a grid for `replay.py`: trains every cell and writes its scores and its costs.

    uv run python -m benchmarks.search.record_grid --out grid.jsonl
        # 36 cells, one after the other; start it again to go on
    uv run python -m benchmarks.search.record_grid --out grid.jsonl --cells 2   # only the next two
    uv run python -m benchmarks.search.record_grid --out part1.jsonl --share 1/2
        # every second cell, for a second process or machine
    uv run python -m benchmarks.search.record_grid --out grid.jsonl --scenes 32
        # further scenes of the demo's generator ask as well
    uv run python -m benchmarks.search.record_grid --out grid.jsonl \\
        --learning-rates 1e-4,1e-3,1e-2    # 36 cells for each

One process, one thread, no Ray; frames come from the node's cache, as they do for all trials of a
sweep but the first. A cell's trial has the preset's seed, as every trial of a sweep has; `--set`
changes the base config. `--scenes` beyond the demo's own are all for validation: the 48 videos of
its own validation part leave recall@1 a standard error of 0.07, which hides what cells differ by.

A line holds the values, recall@1 on the validation part after each epoch of `--at` and the last,
which queries hit there, the CPU-seconds until then, evaluations included, and what one evaluation
took: a replay can leave some out.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.demo.representation import demo_parts
from benchmarks.search.grid import LENGTHS, Cell, cells_to_record, read_grid, write_cell
from orchestrator.config.run_config import RunConfig, load_config, with_values
from orchestrator.data.frame_tier import through_frame_cache
from prp_core.data.manifest import Parts
from prp_core.data.object_store import LocalStore
from prp_core.data.video_source import VideoSource
from prp_core.evaluation.retrieval import Retrieval, hits_at_k
from prp_core.reporting import MemoryReporter
from prp_core.training.checkpoint import CheckpointFolder
from prp_core.training.loop import pretrain
from prp_core.training.pretrain_data import PretrainData
from prp_core.training.training_config import TrainingConfig
from prp_core.world import World, use_threads

if TYPE_CHECKING:
    import torch

    from prp_core.evaluation.features import FeatureTable

AT = "1-2-3-4-6-8-9-12-16-18-24"


@dataclass(frozen=True, kw_only=True)
class RecordedTraining(TrainingConfig):
    """Training that is evaluated after the epochs `at`, whatever rungs it would have."""

    at: tuple[int, ...]

    @property
    def rungs(self) -> tuple[int, ...]:
        """Those of `at` that come before the end, and the end."""
        return (*(epoch for epoch in self.at if epoch < self.num_epochs), self.num_epochs)


@dataclass(frozen=True, kw_only=True)
class RecordedRetrieval(Retrieval):
    """Retrieval that keeps which queries hit: 0 or 1 for each, a row for each evaluation."""

    rows: list[str] = field(default_factory=list)

    def metrics(
        self, gallery: FeatureTable, queries: FeatureTable, device: torch.device
    ) -> dict[str, float]:
        """As retrieval."""
        hits_Q = hits_at_k(gallery, queries, (1,))[1]
        self.rows.append("".join(str(int(hit)) for hit in hits_Q.tolist()))
        return super().metrics(gallery, queries, device)


def main() -> None:
    """Record what is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="JSON lines; cells that are there are not trained again",
    )
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="PATH=VALUE")
    parser.add_argument(
        "--scenes",
        type=int,
        default=0,
        help="of each motion in all; those beyond the demo's own are for validation",
    )
    parser.add_argument("--demo-seed", type=int, default=0)
    parser.add_argument(
        "--learning-rates", default="", help="with commas between them; none: the preset's alone"
    )
    parser.add_argument(
        "--lengths",
        default="-".join(map(str, LENGTHS)),
        help="frames of a clip (default: %(default)s); one length halves the grid",
    )
    parser.add_argument(
        "--at",
        default=AT,
        help="evaluate after these epochs, and after the last (default: %(default)s)",
    )
    parser.add_argument("--cells", type=int, default=1 << 20, help="stop after so many")
    parser.add_argument(
        "--share", default="1/1", metavar="I/N", help="only the I-th of every N cells"
    )
    arguments = parser.parse_args()
    use_threads(1)
    base = load_config(arguments.preset, arguments.settings)
    folder, split, further = demo_parts(base, arguments.demo_seed, arguments.scenes)
    split = Parts(split.train, (*split.val, *further), ())
    print(f"{len(split.train)} training videos, {len(split.val)} for validation", flush=True)
    place, among = (int(part) for part in arguments.share.split("/"))
    known = [cell.values for cell in read_grid(arguments.out)]
    learning_rates = [float(rate) for rate in arguments.learning_rates.split(",") if rate]
    lengths = [int(length) for length in arguments.lengths.split("-")]
    missing = [
        values
        for values in cells_to_record(learning_rates, lengths)[place - 1 :: among]
        if values not in known
    ][: arguments.cells]
    at = tuple(int(epoch) for epoch in arguments.at.split("-"))
    for number, values in enumerate(missing, start=1):
        cell = record(with_values(base, values), values, folder, split, at)
        write_cell(arguments.out, cell)
        scores = ", ".join(f"{epoch}: {score:.3f}" for epoch, score in cell.scores.items())
        print(
            f"{number} of {len(missing)}: {', '.join(map(str, values.values()))} -> "
            f"{scores} for {cell.cost:.0f} CPU-seconds",
            flush=True,
        )


def record(
    config: RunConfig, values: Mapping[str, object], videos: Path, split: Parts, at: tuple[int, ...]
) -> Cell:
    """Train one cell to its end, evaluated after the epochs `at`, with the frames of all its videos
    on the node before the clock starts.
    """
    retrieval = RecordedRetrieval(**vars(config.evaluation.retrieval))
    config = dataclasses.replace(
        config,
        training=RecordedTraining(**vars(config.training), at=at),
        evaluation=dataclasses.replace(config.evaluation, retrieval=retrieval),
    )
    store = LocalStore(videos)
    with closing(
        through_frame_cache(VideoSource(store, None, config.loader), config, made_from=store.uri)
    ) as source:
        for video in (*split.train, *split.val):
            source.frames(video, [0])
        reporter = TimedReporter()
        with tempfile.TemporaryDirectory() as folder:
            checkpoints = CheckpointFolder(LocalStore(Path(folder)))
            pretrain(
                config,
                PretrainData(source, split),
                World.alone(),
                checkpoints=checkpoints,
                reporter=reporter,
                clock=time.process_time,
            )
    scores = {epoch: metrics[config.sweep.objective] for epoch, _, metrics in reporter.rungs}
    evaluations = [seconds for _, seconds in reporter.series("time/evaluation_seconds")]
    return Cell(
        dict(values),
        scores,
        dict(zip(scores, reporter.times, strict=True)),
        round(statistics.mean(evaluations), 2),
        dict(zip(scores, retrieval.rows, strict=True)),
    )


class TimedReporter(MemoryReporter):
    """Also notes the CPU-seconds of this process since it was made, at each rung."""

    def __init__(self, clock: Callable[[], float] = time.process_time) -> None:
        super().__init__()
        self._clock = clock
        self._started = clock()
        self.times: list[float] = []

    def at_rung(
        self, *, epoch: int, step: int, metrics: Mapping[str, float], hits: Mapping[str, bool]
    ) -> bool:
        """Note and go on."""
        self.times.append(round(self._clock() - self._started, 2))
        return super().at_rung(epoch=epoch, step=step, metrics=metrics, hits=hits)


if __name__ == "__main__":
    main()
