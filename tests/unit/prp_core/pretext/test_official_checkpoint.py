"""Official checkpoints load by the names of method §3.1, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from prp_core.encoders import build_encoder
from prp_core.errors import UserError
from prp_core.pretext.network import PrpNetwork
from prp_core.pretext.official_checkpoint import load_official_checkpoint
from prp_core.pretext.pretext_config import PretextTasks
from prp_core.pretext.slow_motion import SlowMotion

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
NUM_ENTRIES = {"c3d": 108, "r3d": 124, "r2plus1d": 196}


def named(official: str, ours: str, parts: tuple[str, ...]) -> dict[str, str]:
    return {f"{official}.{part}": f"{ours}.{part}" for part in parts}


def conv_norm(official: str, ours: str) -> dict[str, str]:
    return named(f"{official}.conv3d.0", f"{ours}.0", ("weight", "bias")) | named(
        f"{official}.conv3d.1", f"{ours}.1", NORM
    )


def head_names() -> dict[str, str]:
    names = conv_norm("conv6_cls", "stems.playback_rate") | conv_norm(
        "conv6_rec", "stems.slow_motion"
    )
    names |= named("fc8", "heads.playback_rate.linear", ("weight", "bias"))
    decoder = "heads.slow_motion"
    for i in (1, 2, 3):
        names |= named(f"up{i}.up3d", f"{decoder}.up{i}.up", ("weight", "bias")) | conv_norm(
            f"up{i}.conv3d", f"{decoder}.up{i}.conv"
        )
    return (
        names
        | named("up4_1", f"{decoder}.up4", ("weight", "bias"))
        | conv_norm("outc", f"{decoder}.out")
    )


def convolution(kind: str, official: str, ours: str) -> dict[str, str]:
    if kind == "r3d":
        return {f"{official}.temporal_spatial_conv.weight": f"{ours}.weight"}
    parts = {
        f"{official}.spatial_conv.weight": f"{ours}.spatial.weight",
        f"{official}.temporal_conv.weight": f"{ours}.temporal.weight",
    }
    return parts | named(f"{official}.bn", f"{ours}.norm", NORM)


def encoder_names(kind: str) -> dict[str, str]:
    names: dict[str, str] = {}
    if kind == "c3d":
        for layer in (
            "conv1",
            "conv2",
            "conv3_1",
            "conv3_2",
            "conv4_1",
            "conv4_2",
            "conv5_1",
            "conv5_2",
        ):
            names |= conv_norm(layer, layer)
        return names
    names |= convolution(kind, "conv1", "stem") | named("bn1", "stem_norm", NORM)
    for n in (2, 3, 4, 5):
        for i in (1, 2):
            names |= convolution(kind, f"conv{n}.block1.conv{i}", f"stage{n}.conv{i}")
            names |= named(f"conv{n}.block1.bn{i}", f"stage{n}.norm{i}", NORM)
        if n > 2:
            names |= convolution(kind, f"conv{n}.block1.downsampleconv", f"stage{n}.shortcut.0")
            names |= named(f"conv{n}.block1.downsamplebn", f"stage{n}.shortcut.1", NORM)
    return names


def official_names(kind: str) -> dict[str, str]:
    """Official name -> ours, for a whole pretraining checkpoint."""
    encoder = {
        f"module.base_network.{official}": f"encoder.{ours}"
        for official, ours in encoder_names(kind).items()
    }
    return encoder | {f"module.{official}": ours for official, ours in head_names().items()}


def checkpoint_of(network: PrpNetwork, names: dict[str, str]) -> dict[str, torch.Tensor]:
    """Values of their own for every entry, in the network's shapes."""
    state = network.state_dict()
    return {
        official: torch.full_like(state[ours], i % 97 + 1)
        for i, (official, ours) in enumerate(names.items())
    }


@pytest.mark.parametrize("kind", ["c3d", "r3d", "r2plus1d"])
def test_every_entry_of_a_pretraining_checkpoint_finds_its_place(kind: str, tmp_path: Path) -> None:
    network = PrpNetwork(f"{kind}_small")
    names = official_names(kind)
    assert len(names) == NUM_ENTRIES[kind]
    weights = checkpoint_of(network, names)
    torch.save(weights, tmp_path / "model_285.pth.tar")
    report = load_official_checkpoint(network, tmp_path / "model_285.pth.tar")
    assert (len(report.matched), report.missing, report.unexpected, report.ignored) == (
        NUM_ENTRIES[kind],
        (),
        (),
        (),
    )
    state = network.state_dict()
    assert all(torch.equal(state[ours], weights[official]) for official, ours in names.items())


def test_old_files_without_wrapper_or_batch_counts_load_and_cycle_branches_are_ignored() -> None:
    network = PrpNetwork("r3d_small")
    names = {
        name.removeprefix("module."): ours
        for name, ours in official_names("r3d").items()
        if "num_batches_tracked" not in name
    }
    weights = checkpoint_of(network, names) | {
        "base_network_cyc.conv1.temporal_spatial_conv.weight": torch.ones(1),
        "fc8_cyc.bias": torch.ones(1),
    }
    report = load_official_checkpoint(network, weights)
    assert (report.missing, report.unexpected, len(report.ignored)) == ((), (), 2)


def test_a_fine_tuned_file_fills_a_bare_encoder() -> None:
    network = PrpNetwork("r2plus1d_small")
    names = {
        f"module.{official}": f"encoder.{ours}"
        for official, ours in encoder_names("r2plus1d").items()
    }
    weights = checkpoint_of(network, names) | {
        "module.linear.weight": torch.ones(101, 64),
        "module.linear.bias": torch.ones(101),
    }
    report = load_official_checkpoint(network.encoder, weights)
    assert (len(report.matched), report.missing, report.ignored) == (
        len(names),
        (),
        ("module.linear.weight", "module.linear.bias"),
    )
    into_whole = load_official_checkpoint(network, weights)
    assert into_whole.missing and not any(
        name.startswith("encoder.") for name in into_whole.missing
    )


def test_vcop_names_of_c3d_load() -> None:
    network = PrpNetwork("c3d_small")
    layers = {"1": "conv1", "2": "conv2"} | {
        f"{n}{letter}": f"conv{n}_{i}" for n in (3, 4, 5) for letter, i in (("a", 1), ("b", 2))
    }
    names: dict[str, str] = {}
    for label, ours in layers.items():
        names |= named(f"conv{label}", f"encoder.{ours}.0", ("weight", "bias")) | named(
            f"bn{label}", f"encoder.{ours}.1", NORM
        )
    weights = checkpoint_of(network, names)
    assert len(load_official_checkpoint(network, weights).matched) == 56
    assert torch.equal(
        network.state_dict()["encoder.conv5_2.1.running_var"], weights["bn5b.running_var"]
    )


def test_smp_names_of_the_heads_load() -> None:
    network = PrpNetwork("r3d_small")
    renamed = {"module.conv6_": "module.conv5_", "module.fc8.": "module.fc8_c5."}
    weights = checkpoint_of(network, official_names("r3d"))
    for old, new in renamed.items():
        weights = {name.replace(old, new): tensor for name, tensor in weights.items()}
    report = load_official_checkpoint(
        network,
        weights
        | {"module.conv2_cls.conv3d.0.bias": torch.ones(1), "module.fc8_c2.bias": torch.ones(1)},
    )
    assert (report.missing, report.unexpected, len(report.ignored)) == ((), (), 2)


def test_a_foreign_file_an_incomplete_one_and_other_shapes_are_refused(tmp_path: Path) -> None:
    network = PrpNetwork("r3d_small")
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(
        UserError,
        match=r"No encoder weight of the checkpoint is ours; its names begin with "
        r"layer1\.0\.weight",
    ):
        load_official_checkpoint(network, {"layer1.0.weight": torch.ones(1)})
    weights = checkpoint_of(network, official_names("r3d"))
    partial = {name: tensor for name, tensor in weights.items() if "conv5" not in name}
    with pytest.raises(
        UserError, match=r"lacks \d+ encoder weights, encoder\.stage5\.conv1\.weight first"
    ):
        load_official_checkpoint(network, partial)
    with pytest.raises(
        UserError,
        match=r"heads\.playback_rate\.linear\.bias has shape \(3,\) in the checkpoint, "
        r"\(4,\) in the network",
    ):
        load_official_checkpoint(network, weights | {"module.fc8.bias": torch.ones(3)})
    (tmp_path / "broken.pth.tar").write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match="Cannot read checkpoint"):
        load_official_checkpoint(network, tmp_path / "broken.pth.tar")
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_unknown_entries_are_reported() -> None:
    weights = checkpoint_of(PrpNetwork("c3d_small"), official_names("c3d"))
    report = load_official_checkpoint(
        build_encoder("c3d_small"), weights | {"module.surprise.weight": torch.ones(1)}
    )
    assert report.unexpected == ("module.surprise.weight",)
    assert len(report.ignored) == 108 - 56


def test_heads_of_a_task_that_is_off_are_ignored() -> None:
    weights = checkpoint_of(PrpNetwork("r3d_small"), official_names("r3d"))
    tasks = PretextTasks(slow_motion=SlowMotion(loss_weight=0.0))
    network = PrpNetwork("r3d_small", tasks)
    report = load_official_checkpoint(network, weights)
    assert (report.missing, report.unexpected) == ((), ())
    assert set(report.matched) == set(network.state_dict())
    assert len(report.ignored) == len(weights) - len(report.matched)
