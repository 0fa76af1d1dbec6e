"""A pretraining run of two steps an epoch on the tiny corpus, and the state that it leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from prp_core.data.clip_config import ClipConfig
from prp_core.data.manifest import Parts
from prp_core.data.object_store import LocalStore
from prp_core.encoders.encoder_config import EncoderConfig
from prp_core.evaluation.evaluation_config import Evaluations
from prp_core.evaluation.retrieval import Retrieval
from prp_core.evaluation.views import ViewsConfig
from prp_core.pretext.playback_rate import PlaybackRate
from prp_core.pretext.pretext_config import PretextTasks
from prp_core.reporting import Reporter
from prp_core.training.checkpoint import CheckpointFolder, from_bytes
from prp_core.training.loop import PretrainOutcome, pretrain
from prp_core.training.pretrain_config import PretrainConfig
from prp_core.training.pretrain_data import PretrainData
from prp_core.training.training_config import TrainingConfig
from prp_core.world import World
from tests.tiny_corpus import LOADER, make_corpus

ALONE = World.alone()
TRAINING = {
    "num_epochs": 3,
    "batch_size": 4,
    "first_rung_epochs": 1,
    "reduction_factor": 3,
    "log_every_steps": 1,
    "checkpoint_every_steps": 1,
}


def config_with(**training: object) -> PretrainConfig:
    """Two steps an epoch, three epochs, rungs after the first and the last, something saved after
    each step.
    """
    values = {**TRAINING, "plateau_patience_epochs": 1, **training}
    return PretrainConfig(
        encoder=EncoderConfig(name="c3d_small"),
        pretext=PretextTasks(playback_rate=PlaybackRate(rates="1-2-4")),
        clip=ClipConfig(
            length=8,
            resize_height=20,
            resize_width=24,
            crop=16,
            random_crop=True,
            flip_probability=0.5,
        ),
        training=TrainingConfig(**values),  # type: ignore[arg-type]
        evaluation=Evaluations(
            views=ViewsConfig(num_clips=2, clip_length=8), retrieval=Retrieval(ks="1-2")
        ),
        loader=LOADER,
        seed=3,
    )


def parts_of(corpus: Path) -> Parts:
    return make_corpus(corpus, num_train=0, num_val=0)


def train(
    data: PretrainData,
    folder: Path,
    reporter: Reporter,
    world: World = ALONE,
    *,
    continues: Path | None = None,
    hits_of: str = "",
    **training: object,
) -> PretrainOutcome:
    config = config_with(**training)
    checkpoints = CheckpointFolder(
        LocalStore(folder),
        num_kept=config.training.num_checkpoints_kept,
        continues=None if continues is None else CheckpointFolder(LocalStore(continues)),
    )
    return pretrain(
        config, data, world, checkpoints=checkpoints, reporter=reporter, hits_of=hits_of
    )


def last_state(folder: Path) -> dict[str, Any]:
    """Everything in the newest checkpoint, flat, by path."""
    checkpoints = CheckpointFolder(LocalStore(folder))
    checkpoint = checkpoints.latest_committed()
    assert checkpoint is not None and checkpoint.skipped == ()
    return {
        part.name: flat(from_bytes(checkpoints.read(checkpoint, part.name)))
        for part in checkpoint.parts
    }


def flat(tree: Any, path: str = "") -> dict[str, Any]:
    if isinstance(tree, dict | list | tuple):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        return {
            key: value
            for name, branch in items
            for key, value in flat(branch, f"{path}/{name}").items()
        }
    return {path: tree}


def assert_same(first: dict[str, Any], second: dict[str, Any]) -> None:
    """Two `last_state`s hold the same, tensors bit for bit."""
    assert first.keys() == second.keys()
    for name in first:
        assert first[name].keys() == second[name].keys()
        different = [
            path for path, value in first[name].items() if not same(value, second[name][path])
        ]
        assert different == [], name


def same(first: Any, second: Any) -> bool:
    return torch.equal(first, second) if isinstance(first, torch.Tensor) else bool(first == second)
