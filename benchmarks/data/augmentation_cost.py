"""CPU time that each augmentation adds to building a training batch.

    uv run python -m benchmarks.data.augmentation_cost [--rounds 5]

A batch has 8 spans, two at each of the rates 1, 2, 4 and 8, already at the training size; one
thread. Medians of interleaved rounds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace

import torch

from prp_core.data.augmentation import AUGMENTATIONS, AugmentationConfig
from prp_core.data.augmentation.augmentation import Augmentation
from prp_core.data.clip_config import ClipConfig
from prp_core.data.dilated_sampling import needed_positions
from prp_core.data.spans import SpanBatch, SpanSample
from prp_core.pretext.pretext_config import PretextTasks
from prp_core.pretext.targets import build_pretext_batch
from prp_core.world import use_threads

RATES = (1, 2, 4, 8)
CLIPS = {
    "demo": ClipConfig(length=8, resize_height=40, resize_width=50, crop=32),
    "published": ClipConfig(),
}


def main() -> None:
    """Print a row for each augmentation."""
    parser = argparse.ArgumentParser(description="CPU time that each augmentation adds")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    use_threads(1)
    print("| augmentation | " + " | ".join(f"{name}, ms a batch" for name in CLIPS) + " |")
    print("|---" * (1 + len(CLIPS)) + "|")
    times = {name: measure(clip, arguments.rounds) for name, clip in CLIPS.items()}
    for row in configs():
        print(f"| {row} | " + " | ".join(f"{times[name][row]:.1f}" for name in CLIPS) + " |")


def configs() -> dict[str, AugmentationConfig]:
    """Each augmentation of pixels alone, on for every clip, once a clip and once a frame."""
    found = {"none": AugmentationConfig()}
    for name, one in AUGMENTATIONS.items():
        if not isinstance(one, Augmentation):
            continue
        fields = {"strength", "probability"} & set(vars(one))
        for per_frame in (False, True):
            on = replace(one, per_frame=per_frame, **dict.fromkeys(fields, 1.0))
            row = f"{name}, {'each frame' if per_frame else 'whole clips'}"
            found[row] = replace(AugmentationConfig(), **{name: on})
    return found


def measure(clip: ClipConfig, num_rounds: int) -> dict[str, float]:
    """Milliseconds of CPU that one batch takes, by row."""
    spans = SpanBatch(tuple(_sample(clip, index) for index in range(8)))
    seconds: dict[str, list[float]] = {row: [] for row in configs()}
    for _ in range(num_rounds + 1):
        for row, config in configs().items():
            started = time.process_time()
            augmented = replace(clip, augmentation=config)
            build_pretext_batch(spans, augmented, PretextTasks(), "cpu", (0, "transform"))
            seconds[row].append(time.process_time() - started)
    return {row: 1000 * statistics.median(found[1:]) for row, found in seconds.items()}


def _sample(clip: ClipConfig, index: int) -> SpanSample:
    rate = RATES[index % len(RATES)]
    positions = needed_positions(clip.length, rate, 2, True)
    frames_NHWC = torch.randint(
        0,
        256,
        (len(positions), clip.resize_height, clip.resize_width, 3),
        dtype=torch.uint8,
        generator=torch.Generator().manual_seed(index),
    )
    return SpanSample(frames_NHWC, positions, rate, index % len(RATES), index, 0, 0, index)


if __name__ == "__main__":
    main()
