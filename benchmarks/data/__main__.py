"""Every way of loading, side by side, and what it makes of the goals.

uv run python -m benchmarks.data [--videos FOLDER] [--num-rounds 7] [--num-clips 24] [--only
readers-shards-warm-trials]

Clips per CPU-second (this process, its threads and its children), medians of interleaved rounds,
each beside the limit measured in the same run. First the readers of original videos for each kind
of file, then prepared shards, the node's warm frames, and four trials that share a node. The last
table holds all figures that have a goal. Seconds mean little elsewhere; ratios do, on an idle
machine.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import torch

from benchmarks.data import readers, rows, shards, warm_cache
from benchmarks.data.corpus import KINDS
from benchmarks.data.goals import Goal, goals_table, ratio_goals
from benchmarks.data.measure import table

PARTS = ("readers", "shards", "warm", "trials")
OURS = "our reader: planes"


def main() -> None:
    """Measure the parts that are asked for, print each, then the goals."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--videos", type=Path, help="re-encode these for readers and shards instead of made scenes"
    )
    parser.add_argument("--num-rounds", type=int, default=7)
    parser.add_argument("--num-clips", type=int, default=24)
    parser.add_argument(
        "--only", default="-".join(PARTS), help="of these parts (default: %(default)s)"
    )
    options = parser.parse_args()
    if unknown := [part for part in options.only.split("-") if part not in PARTS]:
        parser.error(f"--only: {unknown[0]!r} is none of {', '.join(PARTS)}")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    measured = {"readers": _readers, "shards": _shards, "warm": _warm, "trials": _trials}
    goals = [
        goal
        for part in PARTS
        if part in options.only.split("-")
        for goal in measured[part](options)
    ]
    print(f"\n{goals_table(goals)}")


def _readers(options: argparse.Namespace) -> Iterator[Goal]:
    for kind in KINDS:
        what, figures = readers.measure(
            kind, videos=options.videos, num_rounds=options.num_rounds, num_clips=options.num_clips
        )
        print(f"\n{what}\n\n{table(figures, base=rows.PAPER, limit=rows.LIMIT)}", flush=True)
        times, share = (3.5, 0.85) if kind.codec == "libx264" else (8.0, 0.8)
        yield from ratio_goals(
            kind.name, figures, OURS, rows.PAPER, rows.LIMIT, times=times, share=share
        )


def _shards(options: argparse.Namespace) -> Iterator[Goal]:
    with tempfile.TemporaryDirectory() as folder:
        report, figures = shards.measure(
            KINDS[-1],
            Path(folder),
            videos=options.videos,
            num_rounds=options.num_rounds,
            num_clips=options.num_clips,
        )
    print(f"\n{report}\n\n{table(figures, base=shards.PAPER, limit=shards.LIMIT)}", flush=True)
    yield from ratio_goals(
        "prepared shards",
        figures,
        "JPEG q90 shards",
        shards.PAPER,
        shards.LIMIT,
        times=22.0,
        share=None,
    )


def _warm(options: argparse.Namespace) -> Iterator[Goal]:
    with tempfile.TemporaryDirectory() as folder:
        records = warm_cache.make_videos(Path(folder), 8)
        seconds = warm_cache.warm_against_memcpy(Path(folder), records, options.num_rounds)
    print(f"\nWarm frames of the node's cache\n\n{warm_cache.warm_table(seconds)}", flush=True)
    yield Goal(
        "warm frames, against the paper's way",
        seconds["paper's way"] / seconds["warm cache"],
        300.0,
    )
    yield Goal("warm frames, of memcpy", seconds["memcpy"] / seconds["warm cache"], 0.45, "%")


def _trials(options: argparse.Namespace) -> Iterator[Goal]:
    with tempfile.TemporaryDirectory() as folder:
        records = warm_cache.make_videos(Path(folder), 24)
        result = warm_cache.shared_against_alone(Path(folder), records, min(3, options.num_rounds))
    print(f"\nFour trials with different rate sets\n\n{result.table()}", flush=True)
    yield Goal(
        "four trials that share a node, against each alone", result.times(warm_cache.ALONE), 3.5
    )
    yield Goal(
        "the same, against four at once that share nothing", result.times(warm_cache.BESIDE), 3.5
    )
    yield Goal("downloads per object of the four", result.downloads, 1.02, "", at_most=True)


if __name__ == "__main__":
    main()
