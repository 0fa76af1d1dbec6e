"""The evaluations of a run: one field for each, empty where it is off."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from prp_core.checks import check
from prp_core.evaluation.evaluation import FeatureEvaluation
from prp_core.evaluation.label_free import LabelFree
from prp_core.evaluation.linear_probe import LinearProbe
from prp_core.evaluation.retrieval import Retrieval
from prp_core.evaluation.time_panel import TimePanel
from prp_core.evaluation.views import ViewsConfig

LOWER_RATE = 0.1


@dataclass(frozen=True, kw_only=True)
class RecognitionConfig:
    """Fine-tuning of the whole encoder for class recognition by SGD (method §5)."""

    num_epochs: int = 160
    """Epochs in all."""

    drop_epoch: int = 100
    """The first epoch, counted from 1, that trains at a tenth of the learning rate."""

    batch_size: int = 8
    """Clips of one optimiser step, over all workers."""

    learning_rate: float = 1e-3
    """Learning rate of all layers before `drop_epoch`."""

    momentum: float = 0.9
    """Momentum of SGD."""

    weight_decay: float = 5e-4
    """Weight decay on all parameters."""

    def __post_init__(self) -> None:
        check(
            self.num_epochs >= 1,
            "evaluation.recognition.num_epochs",
            self.num_epochs,
            "must be at least 1",
        )
        check(
            self.batch_size >= 1,
            "evaluation.recognition.batch_size",
            self.batch_size,
            "must be at least 1",
        )
        check(
            self.learning_rate > 0,
            "evaluation.recognition.learning_rate",
            self.learning_rate,
            "must be positive",
        )

    def learning_rate_of(self, epoch: int) -> float:
        """The learning rate of `epoch`, counted from 1."""
        return self.learning_rate * (LOWER_RATE if epoch >= self.drop_epoch else 1.0)


@dataclass(frozen=True, kw_only=True)
class Evaluations:
    """The evaluations: features at each rung and at the end, recognition for the chosen encoder."""

    views: ViewsConfig = field(default_factory=ViewsConfig)
    """The clips of a video that are evaluated."""

    retrieval: Retrieval = field(default_factory=Retrieval)
    """Nearest neighbours; the sweep's objective comes from them, so it is always on, except where
    no video has a class."""

    label_free: LabelFree | None = None
    """Retrieval of the same video from another time; a sweep whose videos have no class turns it
    on, and its objective comes from it."""

    linear_probe: LinearProbe | None = field(default_factory=LinearProbe)
    """A linear classifier on frozen features, after a trial's last epoch."""

    time_panel: TimePanel | None = field(default_factory=TimePanel)
    """Whether retrieval needs the order of frames, for the encoder that a sweep takes."""

    recognition: RecognitionConfig | None = field(default_factory=RecognitionConfig)
    """Fine-tuning with labels, for the encoder that a sweep chooses."""

    @property
    def of_features(self) -> dict[str, FeatureEvaluation]:
        """The evaluations of frozen features that are on, by name, in the order of the fields."""
        entries = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {
            name: entry for name, entry in entries.items() if isinstance(entry, FeatureEvaluation)
        }
