"""Augmentation in the batches that training sees, and as paths that a study varies."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from orchestrator.config.run_config import flatten, load_config
from orchestrator.search.space import apply_space, fits_corpus
from prp_core.data.augmentation import AUGMENTATIONS, AugmentationConfig
from prp_core.data.augmentation.augmentation import Augmentation
from prp_core.data.augmentation.blur import Blur
from prp_core.data.augmentation.colour_jitter import ColourJitter
from prp_core.data.augmentation.greyscale import Greyscale
from prp_core.data.augmentation.rate_jitter import RateJitter
from prp_core.data.clip_config import ClipConfig
from prp_core.data.dilated_sampling import needed_positions
from prp_core.data.spans import SpanBatch
from prp_core.pretext.pretext_config import PretextTasks
from prp_core.pretext.targets import PretextBatch, build_pretext_batch, crop_spans
from tests.formula_clip import formula_sample

PLAIN = ClipConfig(length=8, resize_height=40, resize_width=40, crop=32)
ALL_ON = AugmentationConfig(
    colour_jitter=ColourJitter(strength=1.0, probability=1.0),
    greyscale=Greyscale(probability=0.3),
    blur=Blur(probability=0.7),
)
SAMPLES = tuple(
    formula_sample(rate, needed_positions(8, rate, 2, True), size=40, label=label, index=label)
    for label, rate in enumerate((1, 2, 4, 8))
)


def _batch(clip: ClipConfig, samples: tuple = SAMPLES) -> PretextBatch:
    return build_pretext_batch(SpanBatch(samples), clip, PretextTasks(), "cpu", ("seed",))


def _per_frame(config: AugmentationConfig) -> AugmentationConfig:
    return AugmentationConfig(
        colour_jitter=replace(config.colour_jitter, per_frame=True),
        greyscale=replace(config.greyscale, per_frame=True),
        blur=replace(config.blur, per_frame=True),
    )


def _span_frames(clip: ClipConfig) -> torch.Tensor:
    return crop_spans(SAMPLES, clip, torch.device("cpu"), ("seed",))


def test_a_draw_for_the_clip_changes_input_and_target_alike() -> None:
    clip = replace(PLAIN, augmentation=ALL_ON)
    plain_NCHW = _span_frames(PLAIN)
    frames_NCHW = _span_frames(clip)
    assert not torch.equal(frames_NCHW, plain_NCHW)
    first = 0
    batch = _batch(clip)
    for b, sample in enumerate(SAMPLES):
        rows = [first + sample.positions.index(sample.rate * k) for k in range(8)]
        first += len(sample.positions)
        assert torch.equal(batch.clip_BCTHW[b].transpose(0, 1), frames_NCHW[rows])


def test_a_draw_for_each_frame_changes_the_input_alone() -> None:
    clip = replace(PLAIN, augmentation=_per_frame(ALL_ON))
    assert torch.equal(_span_frames(clip), _span_frames(PLAIN))
    plain = _batch(PLAIN).clip_BCTHW
    changed = _batch(clip).clip_BCTHW
    assert changed.shape == plain.shape and changed.min() >= 0 and changed.max() <= 1
    differs_BT = (changed != plain).flatten(3).any(dim=3).any(dim=1)
    assert bool(differs_BT.all())


@pytest.mark.parametrize("augmentation", [ALL_ON, _per_frame(ALL_ON)])
def test_two_ranks_see_what_one_sees(augmentation: AugmentationConfig) -> None:
    clip = replace(PLAIN, augmentation=augmentation)
    whole = _batch(clip).clip_BCTHW
    halves = [_batch(clip, SAMPLES[rank::2]).clip_BCTHW for rank in range(2)]
    torch.testing.assert_close(whole[0::2], halves[0])
    torch.testing.assert_close(whole[1::2], halves[1])


def test_another_sample_and_another_epoch_have_other_draws() -> None:
    clip = replace(PLAIN, augmentation=ALL_ON)
    later = tuple(replace(sample, epoch=sample.epoch + 1) for sample in SAMPLES)
    assert not torch.equal(_batch(clip).clip_BCTHW, _batch(clip, later).clip_BCTHW)
    assert torch.equal(_batch(PLAIN).clip_BCTHW, _batch(PLAIN, later).clip_BCTHW)


def test_what_a_network_is_shown_to_is_not_augmented() -> None:
    clip = replace(PLAIN, random_crop=True, flip_probability=0.5, augmentation=ALL_ON)
    assert clip.without_augmentation() == PLAIN


VALUES = {"strength": 0.2, "probability": 0.5}


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_each_is_a_path_that_a_study_varies(name: str) -> None:
    base = load_config("demo")
    switch = "strength" if hasattr(AUGMENTATIONS[name], "strength") else "probability"
    path = f"clip.augmentation.{name}.{switch}"
    assert flatten(base)[path] == 0
    config = apply_space(base, {path: VALUES[switch]})
    assert flatten(config)[path] == VALUES[switch]
    one = getattr(config.clip.augmentation, name)
    assert one.is_on and isinstance(one, Augmentation) == (name != "rate_jitter")


def test_published_presets_augment_nothing() -> None:
    for preset in ("demo", "ucf101_c3d", "ucf101_r3d", "ucf101_r2plus1d"):
        assert load_config(preset).clip.augmentation == AugmentationConfig()
        assert load_config(preset).clip.sampling == "uniform"


def test_a_trial_whose_rates_overlap_does_not_fit() -> None:
    config = apply_space(
        load_config("demo"),
        {"pretext.playback_rate.rates": "6-7", "clip.augmentation.rate_jitter.strength": 0.2},
    )
    fit = fits_corpus(config, (500,))
    assert not fit.ok and fit.reason == (
        "clip.augmentation.rate_jitter.strength is too large: rate 6 would go up to 7.2 and "
        "rate 7 down to 5.6"
    )
    clip = replace(config.clip, augmentation=AugmentationConfig(rate_jitter=RateJitter()))
    assert fits_corpus(replace(config, clip=clip), (500,)).ok
