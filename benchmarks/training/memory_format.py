"""A training step with channels-last weights against the default layout, on one CPU thread.

    uv run python -m benchmarks.training.memory_format

A ratio of CPU-seconds: interleaved rounds, medians; forward and backward of the whole network
(encoder, both heads) on clips of 8 frames of 32 x 32.
"""

from __future__ import annotations

import statistics
import time

import torch

from prp_core.pretext.network import PrpNetwork

NUM_ROUNDS = 7


def main() -> None:
    """Measure each small encoder and print a row for it."""
    torch.set_num_threads(1)
    clip_BCTHW = torch.rand(16, 3, 8, 32, 32)
    for encoder in ("c3d_small", "r3d_small", "r2plus1d_small"):
        formats = {"default": torch.contiguous_format, "channels last": torch.channels_last_3d}
        networks = {
            name: PrpNetwork(encoder).to(memory_format=layout) for name, layout in formats.items()
        }
        seconds: dict[str, list[float]] = {name: [] for name in networks}
        for _ in range(NUM_ROUNDS):
            for name, network in networks.items():
                seconds[name].append(step_seconds(network, clip_BCTHW))
        medians = {name: statistics.median(values[1:]) for name, values in seconds.items()}
        print(
            f"{encoder}: channels last takes "
            f"{medians['channels last'] / medians['default']:.2f} of the default's CPU "
            "time"
        )


def step_seconds(network: PrpNetwork, clip_BCTHW: torch.Tensor) -> float:
    """CPU-seconds of one forward and backward."""
    started = time.process_time()
    output = network(clip_BCTHW)
    (output["playback_rate"].logsumexp(dim=1).mean() + output["slow_motion"].mean()).backward()
    return time.process_time() - started


if __name__ == "__main__":
    main()
