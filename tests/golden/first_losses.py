"""The first losses of each small encoder on the formula clip, and the file that remembers them.

A refactor leaves the file untouched; a change of numerics rebuilds it and argues why in its commit
message::

    uv run python -m tests.golden.first_losses
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from prp_core.data.clip_config import ClipConfig
from prp_core.data.dilated_sampling import needed_positions
from prp_core.data.spans import SpanBatch
from prp_core.encoders import ENCODERS
from prp_core.pretext.network import PrpNetwork
from prp_core.pretext.playback_rate import rate_loss
from prp_core.pretext.pretext_config import PretextTasks
from prp_core.pretext.targets import build_pretext_batch
from prp_core.randomness import seed_everything
from tests.formula_clip import formula_sample

GOLDEN = Path(__file__).with_name("first_losses.json")
ENCODER_NAMES = [name for name in ENCODERS if name.endswith("_small")]
NUM_STEPS = 5


def first_losses(encoder: str) -> list[dict[str, float]]:
    """Losses of five steps of SGD on one batch with all four rates, from uint8 frames to the
    update.

    The steps are small: at the usual rate, rounding that differs between processors grows to per
    cents in five steps of R(2+1)D.
    """
    tasks, clip = (
        PretextTasks(),
        ClipConfig(
            resize_height=40, resize_width=40, crop=32, random_crop=True, flip_probability=0.5
        ),
    )
    rates = tasks.playback_rate.rate_list
    samples = [
        formula_sample(
            rate, needed_positions(clip.length, rate, 2, True), size=40, label=i, index=i
        )
        for i, rate in enumerate(rates)
    ]
    batch = build_pretext_batch(SpanBatch(tuple(samples)), clip, tasks, "cpu", ("golden",))
    seed_everything("golden", encoder)
    network = PrpNetwork(encoder, tasks)
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9)
    losses = []
    for _ in range(NUM_STEPS):
        output = network(batch.clip_BCTHW)
        reconstruction = tasks.slow_motion.loss(output["slow_motion"], batch.targets["slow_motion"])
        rate = rate_loss(output["playback_rate"], batch.targets["playback_rate"])
        losses.append({"reconstruction_loss": reconstruction.item(), "rate_loss": rate.item()})
        optimiser.zero_grad()
        (reconstruction + 0.1 * rate).backward()
        optimiser.step()
    return losses


if __name__ == "__main__":
    GOLDEN.write_text(
        json.dumps({name: first_losses(name) for name in ENCODER_NAMES}, indent=2) + "\n"
    )
