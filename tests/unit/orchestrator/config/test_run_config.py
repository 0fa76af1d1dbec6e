"""Reading configs: what is refused, in which words, and that the tree survives its travels."""

import json
from pathlib import Path

import pytest

from orchestrator.config.run_config import (
    RunConfig,
    digest,
    flatten,
    load_config,
    parse_config,
    replace_path,
    to_tree,
    with_values,
)
from orchestrator.config.shipped import presets
from prp_core.errors import UserError

REFUSED = [
    (
        {"clip": {"lenght": 8}},
        "Unknown config key 'clip.lenght'; known: clip.augmentation, clip.crop, "
        "clip.flip_probability, clip.length, ",
    ),
    ({"clip": {"lenght": 8}}, "Did you mean 'clip.length'?"),
    ({"clips": {}}, "Did you mean 'clip'?"),
    ({"clip": {"length": 10}}, "clip.length = 10: must be a positive multiple of 8"),
    ({"clip": {"crop": 100}}, "clip.crop = 100: must be a positive multiple of 16"),
    (
        {"pretext": {"playback_rate": {"rates": "1-2-x"}}},
        "pretext.playback_rate.rates = '1-2-x': write a rate set as whole numbers joined by '-'",
    ),
    ({"pretext": {"playback_rate": {"rates": "4"}}}, "needs at least two rates"),
    ({"pretext": {"playback_rate": {"rates": "4-2"}}}, "rates are distinct and ascending"),
    ({"pretext": {"slow_motion": {"attention": {"mode": "dpaw"}}}}, "Did you mean 'dpau'?"),
    (
        {"encoder": {"name": "r3dd"}},
        "Unknown encoder 'r3dd'; known: c3d, c3d_small, r2plus1d, r2plus1d_small, r3d, "
        "r3d_small. Did you mean 'r3d'?",
    ),
    (
        {"training": {"batch_size": "8"}},
        "training.batch_size = '8': input should be a valid integer",
    ),
    (
        {"training": {"batch_size": 7}, "resources": {"num_workers": 2}},
        "must be divisible by resources.num_workers = 2",
    ),
    ({"sweep": {"objective": "epoch/rate_accuracy"}}, "must be a retrieval metric"),
    ({"seed": True}, "seed = True"),
    ({"seed": -1}, "seed = -1: must lie in 0 to 4294967295"),
    ({"seed": 2**32}, "seed = 4294967296: must lie in 0 to 4294967295"),
    (
        {"sweep": {"name": "../mine"}},
        "sweep.name = '../mine': letters, digits, '.', '-' and '_', a letter or digit "
        "first, at most 120; {study} stands for",
    ),
    ({"sweep": {"name": "{studdy}"}}, "sweep.name = '{studdy}'"),
    ({"sweep": {"name": ""}}, "sweep.name = ''"),
    (
        {"sweep": {"paired_standard_errors": -0.5}},
        "sweep.paired_standard_errors = -0.5: must not be negative",
    ),
    ({"sweep": {"pruner_min_trials": 0}}, "sweep.pruner_min_trials = 0: must be at least 1"),
    ({"sweep": {"name": "n" * 121}}, "a letter or digit first, at most 120; "),
]


@pytest.mark.parametrize(("tree", "text"), REFUSED)
def test_wrong_input_is_one_line_that_says_what_to_do(tree: dict, text: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_config(tree)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("preset", sorted(presets()))
def test_every_preset_is_a_config(preset: str) -> None:
    assert isinstance(load_config(preset), RunConfig)


def test_settings_replace_values_and_rate_sets_need_no_quotes() -> None:
    config = load_config(
        "demo", ["clip.length=24", "pretext.playback_rate.rates=1-3-6", "training.learning_rate=1"]
    )
    assert config.clip.length == 24
    assert config.pretext.playback_rate.rate_list == (1, 3, 6)
    assert config.training.learning_rate == 1.0


def test_a_tree_crosses_to_a_worker_as_text_and_is_the_same_there() -> None:
    config = load_config("demo")
    assert parse_config(json.loads(json.dumps(to_tree(config)))) == config


def test_parameters_are_the_paths_that_a_space_varies() -> None:
    config = with_values(RunConfig(), {"pretext.playback_rate.rates": "1-2", "clip.length": 8})
    flat = flatten(config)
    assert flat["pretext.playback_rate.rates"] == "1-2"
    assert flat["clip.length"] == 8
    assert not any(isinstance(value, dict) for value in flat.values())


def test_a_pretext_task_is_switched_on_by_its_weight(tmp_path: Path) -> None:
    """From a table, from --set, and from a space; a run without any task is refused."""
    path = "pretext.playing_direction.loss_weight"
    assert flatten(RunConfig())[path] == 0.0
    preset = tmp_path / "direction.toml"
    preset.write_text("[pretext.playing_direction]\nloss_weight = 0.3\n")
    set_by_hand = load_config("demo", [f"{path}=0.3", "pretext.slow_motion.loss_weight=0"])
    sampled = with_values(load_config("demo"), {path: 0.3, "pretext.playback_rate.loss_weight": 0})
    active = [list(one.pretext.active) for one in (load_config(str(preset)), set_by_hand, sampled)]
    assert active == [
        ["playback_rate", "slow_motion", "playing_direction"],
        ["playback_rate", "playing_direction"],
        ["slow_motion", "playing_direction"],
    ]
    weights = [f"pretext.{name}.loss_weight=0" for name in ("playback_rate", "slow_motion")]
    with pytest.raises(UserError, match="every pretext task is off .*: raise the weight of at"):
        load_config("demo", weights)


def test_digests_differ_by_value_alone() -> None:
    config = RunConfig()
    assert digest(config) == digest(parse_config(to_tree(config)))
    assert digest(config) != digest(with_values(config, {"seed": 1}))


def test_a_replaced_path_leaves_the_original_alone() -> None:
    tree = {"clip": {"length": 16}}
    assert replace_path(tree, "clip.length", 8) == {"clip": {"length": 8}}
    assert tree == {"clip": {"length": 16}}


def test_unknown_preset_and_broken_toml_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match="Unknown preset 'demmo'; known: .*demo.* Did you mean 'demo'?"
    ):
        load_config("demmo")
    broken = tmp_path / "mine.toml"
    broken.write_text("clip = [")
    with pytest.raises(UserError, match="is not TOML"):
        load_config(str(broken))
    with pytest.raises(UserError, match="does not exist"):
        load_config(str(tmp_path / "other.toml"))
    with pytest.raises(UserError, match="write path=value"):
        load_config("demo", ["clip.length"])
