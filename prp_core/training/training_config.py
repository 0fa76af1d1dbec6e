"""How long and with which optimiser a run trains."""

from __future__ import annotations

from dataclasses import dataclass

from prp_core.checks import check, check_choice

OPTIMISERS = ("sgd", "adamw")
SCHEDULES = ("plateau", "cosine", "constant")
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """The published values by default (method: SGD, 300 epochs, batch 8, classifier at ten times
    the rate).

    `batch_size` counts clips over all workers. `first_rung_epochs` and `reduction_factor` place the
    rungs: evaluation happens after first, first x factor, first x factor^2 ... epochs and after the
    last. `momentum` is SGD's. `max_gradient_norm` 0 clips nothing. `checkpoint_every_steps` 0 saves
    after each epoch; N saves after every N steps and at rungs. Means are logged every
    `log_every_steps`.
    """

    num_epochs: int = 300
    batch_size: int = 8
    optimiser: str = "sgd"
    learning_rate: float = 0.01
    classifier_learning_rate_multiplier: float = 10.0
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: str = "plateau"
    plateau_patience_epochs: int = 50
    warmup_epochs: int = 0
    max_gradient_norm: float = 0.0
    precision: str = "float32"
    first_rung_epochs: int = 10
    reduction_factor: int = 3
    checkpoint_every_steps: int = 0
    num_checkpoints_kept: int = 2
    log_every_steps: int = 10

    def __post_init__(self) -> None:
        for name in (
            "num_epochs",
            "batch_size",
            "first_rung_epochs",
            "num_checkpoints_kept",
            "plateau_patience_epochs",
            "log_every_steps",
        ):
            check(
                getattr(self, name) >= 1,
                f"training.{name}",
                getattr(self, name),
                "must be at least 1",
            )
        check(
            self.reduction_factor >= 2,
            "training.reduction_factor",
            self.reduction_factor,
            "must be at least 2",
        )
        check_choice("training.optimiser", self.optimiser, OPTIMISERS)
        check_choice("training.schedule", self.schedule, SCHEDULES)
        check_choice("training.precision", self.precision, PRECISIONS)
        check(
            self.learning_rate > 0, "training.learning_rate", self.learning_rate, "must be positive"
        )
        for name in (
            "classifier_learning_rate_multiplier",
            "momentum",
            "weight_decay",
            "max_gradient_norm",
            "warmup_epochs",
            "checkpoint_every_steps",
        ):
            check(
                getattr(self, name) >= 0,
                f"training.{name}",
                getattr(self, name),
                "must not be negative",
            )

    @property
    def rungs(self) -> tuple[int, ...]:
        """The epochs after which a run is judged, ascending; the last epoch is always one of
        them.
        """
        rungs = []
        epoch = self.first_rung_epochs
        while epoch < self.num_epochs:
            rungs.append(epoch)
            epoch *= self.reduction_factor
        return (*rungs, self.num_epochs)
