"""Clips per CPU-second of the readers of original videos, for one kind of file.

Run by ``python -m benchmarks.data``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.data.corpus import Kind, make_corpus
from benchmarks.data.measure import Figure, compare
from benchmarks.data.rows import truth, ways
from benchmarks.data.samples import NUM_FRAMES, NUM_VIDEOS, sample_requests


def measure(
    kind: Kind, *, videos: Path | None, num_rounds: int, num_clips: int
) -> tuple[str, list[Figure]]:
    """(what was read, a figure for each way of `ways`)."""
    with tempfile.TemporaryDirectory() as folder:
        paths = make_corpus(
            Path(folder), kind, num_videos=NUM_VIDEOS, num_frames=NUM_FRAMES, source=videos
        )
        kilobytes = sum(path.stat().st_size for path in paths) / len(paths) / 1000
        rows = ways()
        try:
            figures = compare(rows, sample_requests(paths, num_clips), truth, num_rounds=num_rounds)
        finally:
            for row in rows:
                row.close()
    return (
        f"{kind.name}: {len(paths)} videos of {NUM_FRAMES} frames, {kilobytes:.0f} kB each",
        figures,
    )
