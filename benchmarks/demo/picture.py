"""The README's picture: demo videos that play beside their nearest neighbours, as one GIF.

    uv run python -m benchmarks.demo.picture docs/demo.gif

The preset's config is trained once (`--seed`). The rows are the first test video of each class, in
the order of the keys, whatever was found: a frame is green where the neighbour has the query's
class, red where it has another.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.demo.networks import ALONE, trained_network
from benchmarks.demo.representation import demo_parts
from orchestrator.config.run_config import load_config
from orchestrator.data.demo_videos import DemoSettings
from prp_core.data.manifest import VideoRecord
from prp_core.data.object_store import LocalStore
from prp_core.data.video_source import VideoSource
from prp_core.evaluation.features import extract_features
from prp_core.evaluation.retrieval import nearest
from prp_core.world import use_threads

NUM_FRAMES = 24
NUM_NEIGHBOURS = 3
NUM_COLOURS = 48
MILLISECONDS_A_FRAME = 80
BORDER, LINE_OF_TEXT = 3, 13
GREEN, RED, WHITE, INK = (40, 150, 70), (200, 60, 50), (255, 255, 255), (30, 30, 30)


def main() -> int:
    """Train, look up, draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("gif", type=Path, help="the file to write")
    parser.add_argument("--seed", type=int, default=0, help="the seed of the training")
    arguments = parser.parse_args()
    use_threads(1)
    config = load_config("demo", [f"seed={arguments.seed}", "training.first_rung_epochs=100000"])
    folder, split, _ = demo_parts(config, DemoSettings.seed, DemoSettings.num_scenes)
    queries = first_of_each_class(split.test)
    with VideoSource(LocalStore(folder), None, config.loader) as source:
        encoder = trained_network(config, source, split).encoder
        views = config.evaluation.views
        gallery, asked = (
            extract_features(encoder, records, source, config.clip, views, ALONE)
            for records in (split.train, queries)
        )
        rows = nearest(gallery, asked, NUM_NEIGHBOURS).tolist()
        shown = [
            [query, *(split.train[row] for row in found)]
            for query, found in zip(queries, rows, strict=True)
        ]
        pictures = draw(shown, source)
    pictures[0].save(
        arguments.gif,
        save_all=True,
        append_images=pictures[1:],
        duration=MILLISECONDS_A_FRAME,
        loop=0,
        optimize=True,
    )
    print(f"{arguments.gif}: {arguments.gif.stat().st_size / 1e6:.2f} MB")
    return 0


def first_of_each_class(records: Sequence[VideoRecord]) -> list[VideoRecord]:
    """The first video of each class, by key."""
    firsts: dict[str, VideoRecord] = {}
    for record in sorted(records, key=lambda record: record.key):
        firsts.setdefault(record.label or "", record)
    return list(firsts.values())


def draw(shown: Sequence[Sequence[VideoRecord]], source: VideoSource) -> list[Image.Image]:
    """A picture for each frame: a row for each query, with its neighbours beside it."""
    clips = [[source.frames(record, range(NUM_FRAMES)).numpy() for record in row] for row in shown]
    height, width = clips[0][0].shape[1:3]
    step_y, step_x = height + 2 * BORDER + LINE_OF_TEXT, width + 2 * BORDER + 4
    canvas = Image.new("RGB", (step_x * (1 + NUM_NEIGHBOURS), step_y * len(shown)), WHITE)
    pen = ImageDraw.Draw(canvas)
    for y, row in enumerate(shown):
        for x, record in enumerate(row):
            colour = INK if x == 0 else GREEN if record.label == row[0].label else RED
            left, top = x * step_x, y * step_y
            title = f"{record.label}?" if x == 0 else str(record.label)
            pen.text((left, top), title, fill=colour)
            box = (left, top + LINE_OF_TEXT, left + step_x - 5, top + step_y - 1)
            pen.rectangle(box, outline=colour, width=BORDER)
    pictures = []
    for number in range(NUM_FRAMES):
        frame = np.array(canvas)
        for y, row_of_clips in enumerate(clips):
            for x, clip_THWC in enumerate(row_of_clips):
                top, left = y * step_y + LINE_OF_TEXT + BORDER, x * step_x + BORDER
                frame[top : top + height, left : left + width] = clip_THWC[number]
        pictures.append(Image.fromarray(frame).quantize(NUM_COLOURS))
    return pictures


if __name__ == "__main__":
    raise SystemExit(main())
