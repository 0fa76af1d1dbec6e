"""The config tree: published defaults, and bad values refused by path and value."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import pytest

from prp_core.data.clip_config import SHORT_VIDEO_POLICIES, ClipConfig
from prp_core.data.loader_config import LoaderConfig
from prp_core.errors import UserError
from prp_core.evaluation.evaluation_config import RecognitionConfig
from prp_core.evaluation.retrieval import Retrieval
from prp_core.evaluation.views import ViewsConfig
from prp_core.pretext.motion_attention import AttentionConfig
from prp_core.pretext.playback_rate import PlaybackRate, parse_rates
from prp_core.pretext.pretext_config import PretextTasks
from prp_core.pretext.slow_motion import SlowMotion
from prp_core.training.pretrain_config import PretrainConfig
from prp_core.training.training_config import TrainingConfig

BAD_VALUES: list[tuple[Callable[[], object], str]] = [
    (
        lambda: ClipConfig(length=12),
        "clip.length = 12: must be a positive multiple of 8 (every encoder halves time "
        "three times); try 8, 16 or 24",
    ),
    (
        lambda: ClipConfig(length=0),
        "clip.length = 0: must be a positive multiple of 8 (every encoder halves time "
        "three times); try 8, 16 or 24",
    ),
    (
        lambda: ClipConfig(crop=100),
        "clip.crop = 100: must be a positive multiple of 16 (every encoder halves "
        "space four times); try 48, 64 or 112",
    ),
    (
        lambda: ClipConfig(resize_height=64),
        "clip.resize_height = 64: must be at least clip.crop = 112",
    ),
    (
        lambda: ClipConfig(resize_width=111),
        "clip.resize_width = 111: must be at least clip.crop = 112",
    ),
    (lambda: ClipConfig(flip_probability=1.5), "clip.flip_probability = 1.5: must lie in 0 to 1"),
    (
        lambda: ClipConfig(short_videos="lop"),
        "Unknown value of clip.short_videos 'lop'; known: loop, max-rate, resample. "
        "Did you mean 'loop'?",
    ),
    (lambda: LoaderConfig(num_decoders=0), "loader.num_decoders = 0: must be at least 1"),
    (
        lambda: LoaderConfig(decode_timeout_seconds=0),
        "loader.decode_timeout_seconds = 0: must be positive",
    ),
    (
        lambda: LoaderConfig(decode_memory_bytes=1),
        "loader.decode_memory_bytes = 1: must be at least 536870912 (512 MiB)",
    ),
    (lambda: LoaderConfig(max_pixels=0), "loader.max_pixels = 0: must be positive"),
    (
        lambda: PlaybackRate(rates="1,2,4"),
        "pretext.playback_rate.rates = '1,2,4': write a rate set as whole numbers "
        "joined by '-', for example '1-2-4-8'",
    ),
    (
        lambda: PlaybackRate(rates=""),
        "pretext.playback_rate.rates = '': write a rate set as whole numbers joined by "
        "'-', for example '1-2-4-8'",
    ),
    (
        lambda: PlaybackRate(rates="4"),
        "pretext.playback_rate.rates = '4': needs at least two rates, for example "
        "'1-2': one rate leaves nothing to tell apart",
    ),
    (
        lambda: PlaybackRate(rates="0-1"),
        "pretext.playback_rate.rates = '0-1': rates are whole numbers from 1 up",
    ),
    (
        lambda: PlaybackRate(rates="1-4-2"),
        "pretext.playback_rate.rates = '1-4-2': rates are distinct and ascending, for "
        "example '1-2-4-8'",
    ),
    (
        lambda: PlaybackRate(rates="1-2-2"),
        "pretext.playback_rate.rates = '1-2-2': rates are distinct and ascending, for "
        "example '1-2-4-8'",
    ),
    (
        lambda: PlaybackRate(loss_weight=-1),
        "pretext.playback_rate.loss_weight = -1: must not be negative",
    ),
    (
        lambda: AttentionConfig(mode="gaus"),
        "Unknown value of pretext.slow_motion.attention.mode 'gaus'; known: dpau, "
        "gauss, none. Did you mean 'gauss'?",
    ),
    (
        lambda: AttentionConfig(low=3.0),
        "pretext.slow_motion.attention.low = 3.0: must lie in 0 to attention.high = 2.0",
    ),
    (
        lambda: SlowMotion(upsampling=0),
        "pretext.slow_motion.upsampling = 0: must be a whole number from 1 up",
    ),
    (
        lambda: SlowMotion(loss_weight=-0.5),
        "pretext.slow_motion.loss_weight = -0.5: must not be negative",
    ),
    (lambda: TrainingConfig(num_epochs=0), "training.num_epochs = 0: must be at least 1"),
    (
        lambda: TrainingConfig(reduction_factor=1),
        "training.reduction_factor = 1: must be at least 2",
    ),
    (lambda: TrainingConfig(learning_rate=0), "training.learning_rate = 0: must be positive"),
    (lambda: TrainingConfig(momentum=-0.1), "training.momentum = -0.1: must not be negative"),
    (
        lambda: TrainingConfig(optimiser="adam"),
        "Unknown value of training.optimiser 'adam'; known: adamw, sgd. Did you mean 'adamw'?",
    ),
    (
        lambda: TrainingConfig(precision="float16"),
        "Unknown value of training.precision 'float16'; known: bfloat16, float32, tf32. Did "
        "you mean 'bfloat16'?",
    ),
    (lambda: ViewsConfig(num_clips=0), "evaluation.views.num_clips = 0: must be at least 1"),
    (
        lambda: ViewsConfig(clip_length=10),
        "evaluation.views.clip_length = 10: must be a positive multiple of 8",
    ),
    (
        lambda: Retrieval(ks="5-10"),
        "evaluation.retrieval.ks = '5-10': write whole numbers joined by '-', with 1 "
        "among them, for example '1-5-10-20-50'",
    ),
    (
        lambda: RecognitionConfig(learning_rate=0),
        "evaluation.recognition.learning_rate = 0: must be positive",
    ),
]


@pytest.mark.parametrize(
    ("build", "message"), BAD_VALUES, ids=[message.split(":")[0] for _, message in BAD_VALUES]
)
def test_a_bad_value_is_refused_by_path(build: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError) as error:
        build()
    assert str(error.value) == message


def test_defaults_are_the_published_values() -> None:
    config = PretrainConfig()
    assert (
        config.clip.length,
        config.clip.resize_height,
        config.clip.resize_width,
        config.clip.crop,
    ) == (16, 128, 171, 112)
    assert (config.clip.random_crop, config.clip.flip_probability, config.clip.short_videos) == (
        False,
        0.0,
        "resample",
    )
    tasks = config.pretext
    assert tasks.playback_rate.rate_list == (1, 2, 4, 8) and math.isclose(
        tasks.playback_rate.loss_weight, 0.1
    )
    assert (tasks.slow_motion.upsampling, tasks.slow_motion.loss_weight) == (2, 1.0)
    attention = tasks.slow_motion.attention
    assert (attention.mode, attention.low, attention.high, attention.published) == (
        "dpau",
        0.8,
        2.0,
        False,
    )
    training = config.training
    assert (
        training.num_epochs,
        training.batch_size,
        training.learning_rate,
        training.momentum,
    ) == (300, 8, 0.01, 0.9)
    assert (
        training.weight_decay,
        training.classifier_learning_rate_multiplier,
        training.plateau_patience_epochs,
    ) == (5e-4, 10.0, 50)
    assert (config.evaluation.views.num_clips, config.evaluation.retrieval.k_list) == (
        10,
        (1, 5, 10, 20, 50),
    )
    assert config.seed == 632


def test_fine_tuning_drops_its_rate_after_99_epochs() -> None:
    """Method §5: epochs 1 to 99 at 1e-3, 100 to 160 at 1e-4."""
    recognition = RecognitionConfig()
    rates = [recognition.learning_rate_of(epoch) for epoch in range(1, 161)]
    assert rates == pytest.approx([1e-3] * 99 + [1e-4] * 61)


def frozen_classes(kind: type) -> list[type]:
    """`kind` and every dataclass below it in the tree of its defaults."""
    below = [getattr(kind(), field.name) for field in dataclasses.fields(kind)]
    return [
        kind,
        *(
            found
            for value in below
            if dataclasses.is_dataclass(value)
            for found in frozen_classes(type(value))
        ),
    ]


def test_the_whole_tree_is_frozen_and_built_by_name() -> None:
    classes = frozen_classes(PretrainConfig)
    assert {
        ClipConfig,
        LoaderConfig,
        TrainingConfig,
        PretextTasks,
        AttentionConfig,
        Retrieval,
    } <= set(classes)
    for kind in classes:
        name = dataclasses.fields(kind)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(kind(), name, None)
        with pytest.raises(TypeError):
            kind(getattr(kind(), name))


def test_equal_trees_are_equal_and_hashable() -> None:
    assert PretrainConfig() == PretrainConfig() and hash(PretrainConfig()) == hash(PretrainConfig())
    assert PretrainConfig(seed=1) != PretrainConfig()


@pytest.mark.parametrize(
    ("text", "rates"), [("1-2", (1, 2)), ("1-3-6", (1, 3, 6)), ("2-16", (2, 16))]
)
def test_rate_sets_are_text(text: str, rates: tuple[int, ...]) -> None:
    assert parse_rates(text) == rates


@pytest.mark.parametrize("policy", SHORT_VIDEO_POLICIES)
def test_every_policy_for_short_videos_is_accepted(policy: str) -> None:
    assert ClipConfig(short_videos=policy).short_videos == policy


@pytest.mark.parametrize(
    ("num_epochs", "first", "factor", "rungs"),
    [
        (300, 10, 3, (10, 30, 90, 270, 300)),
        (9, 1, 3, (1, 3, 9)),
        (4, 10, 3, (4,)),
        (8, 2, 2, (2, 4, 8)),
        (1, 1, 2, (1,)),
    ],
)
def test_rungs_are_spread_by_a_factor_and_end_with_the_last_epoch(
    num_epochs: int, first: int, factor: int, rungs: tuple[int, ...]
) -> None:
    assert (
        TrainingConfig(
            num_epochs=num_epochs, first_rung_epochs=first, reduction_factor=factor
        ).rungs
        == rungs
    )
