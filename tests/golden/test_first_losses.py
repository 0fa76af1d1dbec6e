"""The first losses of each small encoder are those in the golden file.

`tests/golden/first_losses.py` rebuilds the file.
"""

from __future__ import annotations

import json

import pytest

from tests.golden.first_losses import ENCODER_NAMES, GOLDEN, NUM_STEPS, first_losses


@pytest.mark.parametrize("encoder", ENCODER_NAMES)
def test_first_losses_are_the_golden_ones(encoder: str) -> None:
    golden = json.loads(GOLDEN.read_text())
    assert set(golden) == set(ENCODER_NAMES)
    losses = first_losses(encoder)
    assert len(losses) == NUM_STEPS
    for step, expected in zip(losses, golden[encoder], strict=True):
        assert step == pytest.approx(expected, rel=2e-4)
    assert losses[-1]["train/reconstruction_loss"] < losses[0]["train/reconstruction_loss"]
