"""What the demo's encoder is compared with, how often it has to win, and arms of equal compute."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from benchmarks.demo.arms import ARMS, epochs_of_equal_compute, operations_of_clip
from benchmarks.demo.networks import nearest_hits, outside_own_group, reconstruction_errors
from benchmarks.demo.pixels import MOTION_ENERGY, PIXELS, hits_of_pixels, motion_energy
from benchmarks.demo.representation import PRETRAINED, RANDOM, report
from orchestrator.config.run_config import load_config
from prp_core.evaluation.features import FeatureTable
from prp_core.pretext.slow_motion import SlowMotionTargets

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


def test_a_decoder_that_ignores_its_clip_has_the_error_of_another_clips_frames() -> None:
    target_BCTHW = torch.stack([torch.zeros(3, 2, 4, 4), torch.ones(3, 2, 4, 4)])
    supervised_BT = torch.tensor([[True, False], [True, True]])
    targets = SlowMotionTargets(target_BCTHW, supervised_BT, torch.ones(2, 3, 2, 4, 4))
    follows = reconstruction_errors(target_BCTHW, targets)
    assert follows["reconstruction error"] == 0
    assert follows["another clip's"] == pytest.approx(1)
    assert follows["flat colour"] == pytest.approx(2 / 9)
    ignores = reconstruction_errors(torch.full_like(target_BCTHW, 0.5), targets)
    assert ignores["reconstruction error"] == ignores["another clip's"] == pytest.approx(0.25)


def test_the_arms_have_the_operations_of_the_whole() -> None:
    whole = load_config("demo")
    for name, settings in ARMS.items():
        alone = load_config("demo", settings)
        epochs = epochs_of_equal_compute(alone, whole)
        training = dataclasses.replace(alone.training, num_epochs=epochs)
        spent = operations_of_clip(alone) * training.num_epochs
        budget = operations_of_clip(whole) * whole.training.num_epochs
        assert spent == pytest.approx(budget, rel=0.06), name
    dear = load_config("demo", ["pretext.slow_motion.decoder=published"])
    alone = load_config("demo", ARMS["rate alone"])
    assert epochs_of_equal_compute(alone, dear) > dear.training.num_epochs


@pytest.mark.parametrize(
    ("scored", "num_scenes", "code", "last_line"),
    [
        ({}, 30, 0, "pretrained is above all"),
        ({MOTION_ENERGY: 0.9}, 30, 1, f"pretrained is not above: {MOTION_ENERGY}"),
        ({"mean_frame": 0.6}, 30, 1, "pretrained is not above: mean_frame"),
        ({RANDOM: 0.6}, 30, 1, f"pretrained is not above: {RANDOM}"),
        ({}, 2, 1, f"pretrained is not above: {', '.join([RANDOM, *PIXELS])}"),
    ],
)
def test_pretrained_has_to_be_above_random_initialisation_and_every_pixel_baseline(
    scored: dict[str, float],
    num_scenes: int,
    code: int,
    last_line: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    queries = 120
    scenes = [f"scene {number % num_scenes}" for number in range(queries)]

    def hits(share: float) -> list[float]:
        return [float(number % 10 < 10 * share) for number in range(queries)]

    shares = {RANDOM: 0.2, **dict.fromkeys(PIXELS, 0.2), **scored}
    networks = {RANDOM: [hits(shares[RANDOM])] * 3, PRETRAINED: [hits(0.6)] * 3}
    assert report(networks, {name: hits(shares[name]) for name in PIXELS}, scenes) == code
    assert capsys.readouterr().out.splitlines()[-1] == last_line


def test_a_video_is_not_found_by_one_of_its_own_group() -> None:
    features = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.9, 0.3], [0.0, 1.0]])
    videos = FeatureTable(features, tuple("abab"), tuple("wxyz"), ("g1", "g1", "g2", "g2"))
    assert nearest_hits(videos, videos) == [1, 1, 1, 1], "itself"
    assert outside_own_group(videos, videos, nearest_hits) == [1, 0, 0, 1]
