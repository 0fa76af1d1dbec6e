"""How the label-free objective ranks encoders, compared with recall that labels measure.

    uv run python -m benchmarks.search.label_free_rank --trainings 12 --epochs 4

On the demo's videos, whose classes are known and shown to the evaluation alone. Encoders are the
small ones untrained, and c3d_small after each of `--at` epochs of trainings that differ in rates,
loss weights and learning rate. Prints both figures of each, and Spearman's rank correlation of
label-free recall, and of the effective rank, to recall@1 over the classes: over all encoders, and
over those after the last epoch alone, which is what a sweep has to rank. The interval is a
percentile bootstrap over trainings, whose encoders are taken together.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from scipy.stats import spearmanr

from benchmarks.demo.representation import demo_parts
from benchmarks.search.record_grid import RecordedTraining, TimedReporter
from orchestrator.config.run_config import RunConfig, load_config, with_values
from prp_core.data.manifest import Parts
from prp_core.data.object_store import LocalStore
from prp_core.data.video_source import VideoSource
from prp_core.evaluation.downstream import EvaluationVideos, evaluate_encoder
from prp_core.pretext.network import build_network
from prp_core.training.checkpoint import CheckpointFolder
from prp_core.training.loop import pretrain
from prp_core.training.pretrain_data import PretrainData
from prp_core.world import World, use_threads

LABELLED = "retrieval/recall_at_1"
FIGURES = ("label_free/recall_at_1", "label_free/effective_rank")
UNTRAINED = ("c3d_small", "r3d_small", "r2plus1d_small")
NUM_RESAMPLES = 2000


@dataclass(frozen=True)
class Measured:
    """An encoder's figures; those of one training have one `training`."""

    training: str
    epoch: int
    figures: dict[str, float]


def main() -> None:
    """Measure and print."""
    arguments = parse()
    use_threads(1)
    settings = ["evaluation.label_free.ks=1-5", f"training.num_epochs={arguments.epochs}"]
    base = load_config("demo", [*settings, "training.first_rung_epochs=1"])
    folder, split, further = demo_parts(base, 0, arguments.scenes)
    split = Parts(split.train, (*split.val, *further), ())
    print(f"{len(split.train)} gallery videos, {len(split.val)} queries", flush=True)
    found: list[Measured] = []
    with closing(VideoSource(LocalStore(folder), None, base.loader)) as source:
        videos = EvaluationVideos(split.gallery, split.val, source)
        for name in UNTRAINED:
            config = with_values(base, {"encoder.name": name})
            encoder = build_network(config).encoder
            figures = evaluate_encoder(encoder, config, videos, World.alone(), is_final=False)
            found += [Measured(f"{name} untrained", 0, figures)]
            print(line_of(found[-1]), flush=True)
        for values in cells(arguments.trainings):
            config = with_values(base, values)
            name = ", ".join(map(str, values.values()))
            found += trained(name, config, PretrainData(source, split), arguments.at)
            print("\n".join(map(line_of, found[-len(arguments.at) - 1 :])), flush=True)
    last = [one for one in found if one.epoch == arguments.epochs]
    for title, chosen in (("all encoders", found), ("after the last epoch", last)):
        for figure in FIGURES:
            print(f"{title}: {correlation_line(chosen, figure)}")


def cells(number: int) -> list[dict[str, object]]:
    """`number` configs that differ, drawn with a fixed seed."""
    grid = product(("1-2", "1-4", "1-2-4-8"), (0.0, 1.0), (0.0, 1.0), (3e-4, 1e-3, 3e-3), (0, 1))
    drawn = [
        {
            "pretext.playback_rate.rates": rates,
            "pretext.playback_rate.loss_weight": rate,
            "pretext.slow_motion.loss_weight": slow,
            "training.learning_rate": learning_rate,
            "seed": seed,
        }
        for rates, rate, slow, learning_rate, seed in grid
        if rate or slow
    ]
    return random.Random(0).sample(drawn, min(number, len(drawn)))


def trained(name: str, config: RunConfig, data: PretrainData, at: Sequence[int]) -> list[Measured]:
    """The encoder of `config` after each of the epochs `at` and after the last."""
    at = tuple(at)
    config = replace(config, training=RecordedTraining(**vars(config.training), at=at))
    reporter = TimedReporter()
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = CheckpointFolder(LocalStore(Path(folder)))
        pretrain(config, data, World.alone(), checkpoints=checkpoints, reporter=reporter)
    return [Measured(name, epoch, dict(metrics)) for epoch, _, metrics in reporter.rungs]


def line_of(one: Measured) -> str:
    """The figures of an encoder."""
    figures = "  ".join(f"{name} {one.figures[name]:.3f}" for name in (LABELLED, *FIGURES))
    return f"{one.training}, epoch {one.epoch}: {figures}"


def correlation_line(found: Sequence[Measured], figure: str) -> str:
    """Spearman's correlation of `figure` to labelled recall, its interval, and of how many."""
    trainings = sorted({one.training for one in found})
    generator = random.Random(0)
    draws = []
    for _ in range(NUM_RESAMPLES):
        names = generator.choices(trainings, k=len(trainings))
        draws.append(
            correlation([one for name in names for one in found if one.training == name], figure)
        )
    known = sorted(draw for draw in draws if draw == draw)
    low, high = known[int(0.025 * len(known))], known[int(0.975 * len(known))]
    return (
        f"{figure} to {LABELLED}: {correlation(found, figure):+.2f} [{low:+.2f}, {high:+.2f}] over "
        f"{len(found)} encoders of {len(trainings)} trainings"
    )


def correlation(found: Sequence[Measured], figure: str) -> float:
    """Spearman's rank correlation, -1 to 1; nan where one of the two never differs."""
    ours = [one.figures[figure] for one in found]
    theirs = [one.figures[LABELLED] for one in found]
    if len(set(ours)) < 2 or len(set(theirs)) < 2:
        return float("nan")
    return float(spearmanr(ours, theirs).statistic)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trainings", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--at", type=int, nargs="*", default=(1, 2), help="also after these epochs")
    parser.add_argument("--scenes", type=int, default=0, help="of each motion in all")
    return parser.parse_args()


if __name__ == "__main__":
    main()
