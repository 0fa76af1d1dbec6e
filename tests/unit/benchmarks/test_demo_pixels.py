"""What the demo's encoder is compared with: motion energy, and arms of equal compute."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from benchmarks.demo.arms import ARMS, epochs_of_equal_compute, operations_of_clip
from benchmarks.demo.pixels import MOTION_ENERGY, PIXELS, hits_of_pixels, motion_energy
from orchestrator.config.run_config import load_config
from prp_core.evaluation.features import FeatureTable

NUMBERS = torch.arange(16.0)


def ramp(step: float) -> torch.Tensor:
    """A clip whose brightness climbs by `step` a frame."""
    return (NUMBERS * step)[None, None, :, None, None].expand(1, 3, 16, 4, 4)


def table(steps: list[float], labels: str) -> FeatureTable:
    rows = torch.cat([motion_energy(ramp(step)) for step in steps])
    keys = tuple(str(number) for number in range(len(steps)))
    return FeatureTable(rows, tuple(labels), keys, keys)


def test_motion_energy_is_the_mean_difference_of_frames_1_2_and_8_apart() -> None:
    assert motion_energy(ramp(0.02)).exp()[0].tolist() == pytest.approx([0.02, 0.04, 0.16])
    assert set(PIXELS) == {"first_frame", "mean_frame", "mean_absolute_difference", MOTION_ENERGY}
    gallery = table([0.01, 0.03], "sf")
    assert hits_of_pixels(MOTION_ENERGY, gallery, table([0.012, 0.028, 0.03], "sfs")) == [1, 1, 0]


def test_the_arms_have_the_operations_of_the_whole() -> None:
    whole = load_config("demo")
    for name, settings in ARMS.items():
        alone = load_config("demo", settings)
        epochs = epochs_of_equal_compute(alone, whole)
        training = dataclasses.replace(alone.training, num_epochs=epochs)
        spent = operations_of_clip(alone) * training.num_epochs
        budget = operations_of_clip(whole) * whole.training.num_epochs
        assert spent == pytest.approx(budget, rel=0.06), name
    alone = load_config("demo", ARMS["rate alone"])
    assert epochs_of_equal_compute(alone, whole) > whole.training.num_epochs
