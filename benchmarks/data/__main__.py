"""Prints how many clips per CPU-second each way of loading reaches, for each kind of file.

uv run python -m benchmarks.data [--videos FOLDER] [--num-rounds 7] [--num-clips 24]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import cv2
import torch

from benchmarks.data.corpus import KINDS, make_corpus
from benchmarks.data.measure import compare, table
from benchmarks.data.rows import LIMIT, PAPER, truth, ways
from benchmarks.data.samples import NUM_FRAMES, NUM_VIDEOS, sample_requests


def main() -> None:
    """One table for each kind of file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=Path, help="re-encode these instead of made scenes")
    parser.add_argument("--num-rounds", type=int, default=7)
    parser.add_argument("--num-clips", type=int, default=24)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            paths = make_corpus(Path(folder), kind, num_videos=NUM_VIDEOS, num_frames=NUM_FRAMES, source=options.videos)
            kilobytes = sum(path.stat().st_size for path in paths) / len(paths) / 1000
            rows = ways()
            figures = compare(rows, sample_requests(paths, options.num_clips), truth, num_rounds=options.num_rounds)
            for row in rows:
                row.close()
        print(f"\n{kind.name}: {len(paths)} videos of {NUM_FRAMES} frames, {kilobytes:.0f} kB each\n", flush=True)
        print(table(figures, base=PAPER, limit=LIMIT), flush=True)


if __name__ == "__main__":
    main()
