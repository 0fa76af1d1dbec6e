"""The first losses of each small encoder on the formula clip, and the file that remembers them.

The product's own step is what is guarded: `Learner.step` of `build_network(config)` with the
default config. A refactor leaves the file untouched; a change of numerics rebuilds it and argues
why in its commit message::

    uv run python -m tests.golden.first_losses
"""

from __future__ import annotations

import json
from pathlib import Path

from prp_core.data.clip_config import ClipConfig
from prp_core.data.dilated_sampling import needed_positions
from prp_core.data.spans import SpanBatch
from prp_core.encoders import ENCODERS
from prp_core.encoders.encoder_config import EncoderConfig
from prp_core.pretext.targets import build_pretext_batch
from prp_core.training.learner import Learner
from prp_core.training.pretrain_config import PretrainConfig
from prp_core.training.training_config import TrainingConfig
from prp_core.world import World
from tests.formula_clip import formula_sample

GOLDEN = Path(__file__).with_name("first_losses.json")
ENCODER_NAMES = [name for name in ENCODERS if name.endswith("_small")]
NUM_STEPS = 5
NUMBERS = ("train/reconstruction_loss", "train/rate_loss")


def first_losses(encoder: str) -> list[dict[str, float]]:
    """`NUMBERS` of five steps on one batch with all four rates, from uint8 frames to the update.

    The steps are small: at the usual rate, rounding that differs between processors grows to per
    cents in five steps of R(2+1)D.
    """
    config = PretrainConfig(
        encoder=EncoderConfig(name=encoder),
        clip=ClipConfig(
            resize_height=40, resize_width=40, crop=32, random_crop=True, flip_probability=0.5
        ),
        training=TrainingConfig(batch_size=4, learning_rate=1e-4),
    )
    samples = [
        formula_sample(
            rate, needed_positions(config.clip.length, rate, 2, True), size=40, label=i, index=i
        )
        for i, rate in enumerate(config.pretext.playback_rate.rate_list)
    ]
    batch = build_pretext_batch(
        SpanBatch(tuple(samples)), config.clip, config.pretext, "cpu", ("golden",)
    )
    learner = Learner(config, World.alone(), steps_per_epoch=1)
    steps = [learner.step(batch).read() for _ in range(NUM_STEPS)]
    return [{name: numbers[name] for name in NUMBERS} for numbers in steps]


if __name__ == "__main__":
    GOLDEN.write_text(
        json.dumps({name: first_losses(name) for name in ENCODER_NAMES}, indent=2) + "\n"
    )
