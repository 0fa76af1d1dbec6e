"""The samples that every way of loading is measured on."""

from __future__ import annotations

import random
from pathlib import Path

from benchmarks.data.measure import Request
from prp_core.data.dilated_sampling import needed_positions, num_starts, span_length

RATES = (1, 2, 4, 8)
CLIP_LENGTH = 16
UPSAMPLING = 2
NUM_VIDEOS = 4
NUM_FRAMES = 180


def sample_requests(paths: list[Path], count: int) -> list[Request]:
    """Samples as pretraining draws them: rates in turn, any start that fits, all frames needed."""
    draw = random.Random(0)
    requests = []
    for number in range(count):
        rate = RATES[number % len(RATES)]
        start = draw.randrange(num_starts(NUM_FRAMES, span_length(CLIP_LENGTH, rate)))
        positions = needed_positions(CLIP_LENGTH, rate, UPSAMPLING, True)
        requests.append(
            Request(paths[number // len(RATES) % len(paths)], start, rate, CLIP_LENGTH, positions)
        )
    return requests
