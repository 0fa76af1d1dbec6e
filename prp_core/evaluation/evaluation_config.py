"""What a representation is worth downstream: one optional field for each evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field

from prp_core.checks import check


@dataclass(frozen=True, kw_only=True)
class ViewsConfig:
    """How an evaluation looks at a video, the same for every trial whatever length it was trained
    with.

    `num_clips` clips of `clip_length` consecutive frames, centres evenly spaced (method: 10 clips
    of 16 frames).
    """

    num_clips: int = 10
    clip_length: int = 16
    batch_size: int = 32

    def __post_init__(self) -> None:
        check(
            self.num_clips >= 1, "evaluation.views.num_clips", self.num_clips, "must be at least 1"
        )
        check(
            self.clip_length > 0 and self.clip_length % 8 == 0,
            "evaluation.views.clip_length",
            self.clip_length,
            "must be a positive multiple of 8",
        )
        check(
            self.batch_size >= 1,
            "evaluation.views.batch_size",
            self.batch_size,
            "must be at least 1",
        )


@dataclass(frozen=True, kw_only=True)
class RetrievalConfig:
    """Nearest neighbours by cosine; `ks` as text, for example ``"1-5-10-20-50"``."""

    ks: str = "1-5-10-20-50"

    def __post_init__(self) -> None:
        ok = all(
            part.isdigit() and int(part) >= 1 for part in self.ks.split("-")
        ) and "1" in self.ks.split("-")
        check(
            ok,
            "evaluation.retrieval.ks",
            self.ks,
            "write whole numbers joined by '-', with 1 among them, for example '1-5-10-20-50'",
        )

    @property
    def k_list(self) -> tuple[int, ...]:
        """The ks as numbers, ascending."""
        return tuple(sorted(int(part) for part in self.ks.split("-")))


@dataclass(frozen=True, kw_only=True)
class LinearProbeConfig:
    """A linear classifier on frozen features, fitted on the gallery part and read on the query
    part.
    """

    weight_decay: float = 1e-3
    num_iterations: int = 100


@dataclass(frozen=True, kw_only=True)
class RecognitionConfig:
    """Fine-tuning of the whole encoder for class recognition (method: SGD, 160 epochs, x0.1 at
    `drop_epoch`).
    """

    num_epochs: int = 160
    drop_epoch: int = 100
    batch_size: int = 8
    learning_rate: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 5e-4

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


@dataclass(frozen=True, kw_only=True)
class Evaluations:
    """Retrieval always (the sweep's objective comes from it); the probe after each finished trial;
    recognition for the winner.
    """

    views: ViewsConfig = field(default_factory=ViewsConfig)
    retrieval: RetrievalConfig = field(default_factory=RetrievalConfig)
    linear_probe: LinearProbeConfig | None = field(default_factory=LinearProbeConfig)
    recognition: RecognitionConfig | None = field(default_factory=RecognitionConfig)
