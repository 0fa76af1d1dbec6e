"""Every study in `sweeps/` suggests what the config takes, and what it says that it searches."""

from __future__ import annotations

import importlib
import pkgutil
import random

import pytest

import sweeps
from orchestrator.config.run_config import flatten, load_config
from orchestrator.search.samplers.design import drawn_from
from orchestrator.search.space import apply_space

STUDIES = sorted(
    module.name for module in pkgutil.iter_modules(sweeps.__path__) if not module.ispkg
)
RATES, LENGTH, WEIGHT, LEARNING_RATE = (
    "pretext.playback_rate.rates",
    "clip.length",
    "pretext.playback_rate.loss_weight",
    "training.learning_rate",
)
SEARCHED = {
    "generated_rates": {RATES, LENGTH, LEARNING_RATE, "pretext.slow_motion.upsampling"},
    "rate_search": {RATES, LENGTH, WEIGHT, "pretext.slow_motion.attention.mode"},
    "shortcuts": {
        "clip.augmentation.rate_jitter.strength",
        "clip.augmentation.colour_jitter.strength",
        "clip.augmentation.greyscale.probability",
        "clip.augmentation.blur.probability",
    },
    "untuned_search": {RATES, LENGTH, WEIGHT, LEARNING_RATE},
}


@pytest.mark.parametrize("study", STUDIES)
@pytest.mark.parametrize("preset", ["demo", "ucf101_r3d"])
def test_a_study_suggests_what_the_config_takes(study: str, preset: str) -> None:
    space = importlib.import_module(f"sweeps.{study}").space
    base, draw = load_config(preset), random.Random(0)
    for _ in range(60):
        trial = drawn_from(space, draw)
        config = apply_space(base, trial.params)
        paths = {name.partition("@")[0] for name in trial.params}
        assert paths and paths >= SEARCHED.get(study, set())
        values = flatten(config)
        for name, value in trial.params.items():
            assert name.startswith("@") or values[name.partition("@")[0]] == value
