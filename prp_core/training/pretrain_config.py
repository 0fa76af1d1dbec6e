"""The part of the config tree that training needs.

A run on a cluster adds to it (`orchestrator/config/run_config.py`). A config is a frozen tree of
standard-library dataclasses. Every value is checked once, when its dataclass is built, and the
error shows the value's path in the tree. Each dataclass stands beside the code that owns it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from prp_core.checks import check
from prp_core.data.clip_config import ClipConfig
from prp_core.data.loader_config import LoaderConfig
from prp_core.encoders.encoder_config import EncoderConfig
from prp_core.evaluation.evaluation_config import Evaluations
from prp_core.pretext.pretext_config import PretextTasks
from prp_core.training.training_config import TrainingConfig


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """All that decides what one pretraining run learns.

    Not where it runs, nor where its videos lie.
    """

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    """The encoder that is pretrained."""

    pretext: PretextTasks = field(default_factory=PretextTasks)
    """The pretext tasks; one is on where its loss weight is above 0."""

    clip: ClipConfig = field(default_factory=ClipConfig)
    """Size, sampling and augmentation of training clips."""

    loader: LoaderConfig = field(default_factory=LoaderConfig)
    """How videos are decoded and batches are prepared."""

    training: TrainingConfig = field(default_factory=TrainingConfig)
    """Length, optimiser, precision, rungs and checkpoints."""

    evaluation: Evaluations = field(default_factory=Evaluations)
    """What is measured of the encoder."""

    seed: int = 632
    """The seed of initial weights, sampling, augmentation and, without split files, the parts:
    0 to 2**32 - 1, which every generator takes."""

    def __post_init__(self) -> None:
        check(0 <= self.seed < 2**32, "seed", self.seed, "must lie in 0 to 4294967295")
