"""Fine-tuning for recognition on real videos: what it learns, logs, counts and resumes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import nn

from prp_core.data.object_store import LocalStore
from prp_core.data.video_source import VideoSource
from prp_core.errors import UserError
from prp_core.evaluation.downstream import EvaluationVideos
from prp_core.reporting import MemoryReporter, Points
from prp_core.training.checkpoint import CheckpointFolder
from prp_core.training.fine_tuning import FineTuned, fine_tune
from prp_core.training.loop import PretrainData
from prp_core.training.pretrain_config import PretrainConfig
from prp_core.training.watchdog import Signals
from prp_core.world import World
from tests.tiny_corpus import LOADER, encode_motion, make_corpus
from tests.unit.prp_core.evaluation.test_features import encoder, tuned_for

ALONE = World.alone()


class Died(Exception):
    """The process dies here."""


@dataclasses.dataclass
class CurveReporter(MemoryReporter):
    """Keeps its points in checkpoints; dies when it is to log step `dies_at`."""

    dies_at: int = -1

    def log(self, metrics: Mapping[str, float], *, step: int) -> None:
        if step == self.dies_at:
            raise Died
        super().log(metrics, step=step)

    def unconfirmed(self) -> Points:
        return list(self.logged)


def tune(
    config: PretrainConfig,
    videos: EvaluationVideos,
    folder: Path,
    reporter: MemoryReporter,
    *,
    network: nn.Module | None = None,
    signals: Signals | None = None,
) -> FineTuned:
    checkpoints = CheckpointFolder(LocalStore(folder), num_kept=9)
    network = network or encoder()
    return fine_tune(
        network,
        config,
        videos,
        ALONE,
        checkpoints=checkpoints,
        reporter=reporter,
        signals=signals,
    )


def test_fine_tuning_learns_what_the_classes_are(data: PretrainData, tmp_path: Path) -> None:
    network, reporter = encoder(), MemoryReporter()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    train = data.parts.train
    videos = EvaluationVideos(train, train, data.source)
    tuned = tune(tuned_for(8), videos, tmp_path, reporter, network=network)
    metrics = tuned.metrics
    losses = [value for _, value in reporter.series("recognition/train_loss")]
    assert [step for step, _ in reporter.series("recognition/train_loss")] == list(range(2, 17, 2))
    rates = [value for _, value in reporter.series("recognition/learning_rate")]
    assert rates == pytest.approx([0.02] * 6 + [0.002] * 2)
    assert losses[-1] < 0.7 * losses[0] and metrics["recognition/accuracy"] >= 0.75
    assert (
        metrics["recognition/num_videos"],
        metrics["recognition/num_broken"],
        metrics["recognition/num_replaced"],
    ) == (8, 0, 0)
    assert reporter.logged[-1] == (16, metrics)
    assert all(
        torch.equal(before[name], tensor) for name, tensor in network.state_dict().items()
    ), "a copy is tuned, not the encoder itself"
    assert tuned.labels == tuple(sorted({record.label or "" for record in train}))
    again = tune(tuned_for(8), videos, tmp_path, MemoryReporter(), network=network)
    assert again.metrics == metrics, "what is finished is measured, not trained, again"
    assert len(list(tmp_path.rglob("commit.json"))) <= 8


def test_a_resumed_fine_tuning_is_the_whole_one_bit_for_bit(
    data: PretrainData, tmp_path: Path
) -> None:
    """It dies at the end of the second epoch, of whose first step a notice left a checkpoint."""
    videos = EvaluationVideos(data.parts.train, data.parts.val, data.source)
    whole = CurveReporter()
    expected = tune(tuned_for(3), videos, tmp_path / "whole", whole)
    heard = iter([False, False, True])
    died = CurveReporter(dies_at=4)
    folder = tmp_path / "resumed"
    with pytest.raises(Died):
        signals = Signals(is_preempted=lambda: next(heard, False))
        tune(tuned_for(3), videos, folder, died, signals=signals)
    steps = sorted(int(path.parent.name[5:]) for path in folder.rglob("commit.json"))
    assert steps == [2, 3]
    resumed = CurveReporter()
    found = tune(tuned_for(3), videos, folder, resumed)
    assert (found.metrics, resumed.logged) == (expected.metrics, whole.logged)
    state = expected.network.state_dict()
    assert all(
        torch.equal(state[name], tensor) for name, tensor in found.network.state_dict().items()
    )

    longer = tune(tuned_for(4), videos, folder, MemoryReporter())
    assert longer.metrics["recognition/num_videos"] == 4
    with pytest.raises(UserError, match=r"holds 4 epochs .*num_epochs is 3"):
        tune(tuned_for(3), videos, folder, MemoryReporter())
    other = encoder()
    next(other.parameters()).data.zero_()
    with pytest.raises(UserError, match="another fine-tuning: encoder.weights is"):
        tune(tuned_for(4), videos, folder, MemoryReporter(), network=other)


def test_fine_tuning_counts_the_videos_it_had_to_replace(tmp_path: Path) -> None:
    corpus = tmp_path / "videos"
    make_corpus(corpus, num_train=6, num_val=2)
    encode_motion(
        corpus / "down" / "train-00.mp4", (2, 2), seed=77
    )  # no longer the object that was listed
    stale = make_corpus(corpus, num_train=0, num_val=0)
    stale = dataclasses.replace(
        stale, train=(dataclasses.replace(stale.train[0], etag="0-0"), *stale.train[1:])
    )
    with VideoSource(LocalStore(corpus), None, LOADER) as source:
        videos = EvaluationVideos(stale.train, stale.val, source)
        metrics = tune(tuned_for(2), videos, tmp_path / "kept", MemoryReporter()).metrics
        assert metrics["recognition/num_replaced"] >= 2 and metrics["recognition/num_videos"] == 2
        with pytest.raises(
            UserError, match="1 training videos are too few to fine-tune on 1 workers"
        ):
            too_few = EvaluationVideos(stale.train[1:2], stale.train, source)
            tune(tuned_for(2), too_few, tmp_path / "few", MemoryReporter())
