"""Training that starts from an encoder's weights: those, the seed's own heads, and no other's."""

from __future__ import annotations

import dataclasses
from contextlib import closing
from pathlib import Path

import pytest
import torch

from prp_core.data.object_store import LocalStore
from prp_core.encoders import build_encoder
from prp_core.errors import UserError
from prp_core.pretext.network import build_network
from prp_core.reporting import MemoryReporter
from prp_core.training.checkpoint import CheckpointFolder
from prp_core.training.loop import PretrainRun
from prp_core.training.pretrain_data import PretrainData
from prp_core.training.watchdog import Signals
from prp_core.world import World
from tests.tiny_training import config_with


def run_of(data: PretrainData, folder: Path) -> PretrainRun:
    checkpoints = CheckpointFolder(LocalStore(folder))
    reporter = MemoryReporter()
    return PretrainRun(
        config_with(), data, World.alone(), checkpoints, reporter, None, Signals(), "", lambda: 0.0
    )


def test_a_run_starts_from_the_weights_that_it_is_given(data: PretrainData, tmp_path: Path) -> None:
    torch.manual_seed(11)
    weights = build_encoder("c3d_small").state_dict()
    with_start = dataclasses.replace(data, initial_encoder=lambda: weights)
    own = build_network(config_with()).state_dict()
    with closing(run_of(with_start, tmp_path)) as run:
        state = run._learner.network.state_dict()
    for name, value in state.items():
        bare = name.removeprefix("encoder.")
        assert torch.equal(value, own[name] if bare == name else weights[bare]), name
    assert not torch.equal(state["encoder.conv1.0.weight"], own["encoder.conv1.0.weight"])


def test_the_weights_of_another_encoder_are_refused(data: PretrainData, tmp_path: Path) -> None:
    other = build_encoder("r3d_small").state_dict()
    with pytest.raises(UserError, match="these weights are not those of encoder 'c3d_small'"):
        run_of(dataclasses.replace(data, initial_encoder=lambda: other), tmp_path)
