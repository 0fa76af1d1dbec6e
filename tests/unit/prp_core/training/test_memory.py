"""The estimate of training's memory against a measured peak, and how it grows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from prp_core.training.memory import network_memory

MEASURE = """
import json, re, torch
from prp_core.eager_optimisers import eager
from prp_core.pretext.network import PrpNetwork
from prp_core.pretext.slow_motion import reconstruction_loss
torch.set_num_threads(1)
# Not getrusage: its maximum begins with what the process that forked this one held.
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024
network = PrpNetwork("c3d_small")
optimiser = eager(torch.optim.AdamW)(network.parameters())  # another one imports the compiler
before = peak()
output = network(torch.rand(8, 3, 16, 64, 64))
target = torch.rand(8, 3, 32, 64, 64)
weights, supervised = torch.ones_like(target), torch.ones(8, 32, dtype=torch.bool)
loss = reconstruction_loss(output["slow_motion"], target, weights, supervised)
(loss + output["playback_rate"].sum()).backward()
optimiser.step()
print(json.dumps(peak() - before))
"""


def test_the_estimate_is_a_lower_bound_within_a_factor_of_three_of_the_measured_peak() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[4],
    )
    measured = json.loads(done.stdout)
    estimate = network_memory("c3d_small").worker_bytes(
        num_clips=8, length=16, crop=64, upsampling=2
    )
    assert measured / 3 <= estimate <= measured, (estimate, measured)


@pytest.mark.parametrize("encoder", ["c3d", "r3d", "r2plus1d"])
def test_more_clips_frames_pixels_and_upsampling_need_more(encoder: str) -> None:
    memory = network_memory(encoder)
    small = {"num_clips": 1, "length": 8, "crop": 64, "upsampling": 1}
    least = memory.worker_bytes(**small)
    assert all(
        memory.worker_bytes(**{**small, name: 2 * value}) > least for name, value in small.items()
    )
    assert memory.decoder.state_bytes > 16 * 28e6, "four copies of at least 28 million weights"


def test_without_a_decoder_less_is_needed() -> None:
    memory = network_memory("r3d")
    clip = {"num_clips": 8, "length": 16, "crop": 112}
    without = memory.worker_bytes(**clip, upsampling=0)
    assert 0 < without < 0.8 * memory.worker_bytes(**clip, upsampling=1)
