"""How long and with which optimiser a run trains."""

from __future__ import annotations

from dataclasses import dataclass

from prp_core.checks import check, check_choice
from prp_core.training.optimisers import OPTIMISERS
from prp_core.training.schedule import SCHEDULES

PRECISIONS = {
    "float32": "as torch computes it: convolutions use TF32 on GPUs that have it",
    "bfloat16": "mixed precision by autocast, on GPUs alone; losses and weights stay float32",
}


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Length, optimiser, precision, rungs and checkpoints; the defaults are the published values.

    (Method §5: SGD, 300 epochs, batch 8, the classifier at ten times the learning rate.)
    """

    num_epochs: int = 300
    """Epochs in all; an epoch is one pass over the training videos."""

    batch_size: int = 8
    """Clips of one optimiser step, over all workers."""

    optimiser: str = "sgd"
    """A key of `OPTIMISERS`: sgd (with momentum) or adamw."""

    learning_rate: float = 0.01
    """The learning rate that the schedule's factor multiplies."""

    classifier_learning_rate_multiplier: float = 10.0
    """Learning rate of the linear classifiers of pretext tasks, as a multiple of the others'."""

    momentum: float = 0.9
    """Momentum of SGD; AdamW has none."""

    weight_decay: float = 5e-4
    """Weight decay on all parameters, biases and batch norm included."""

    schedule: str = "plateau"
    """A key of `SCHEDULES`: plateau, cosine or constant."""

    plateau_patience_epochs: int = 50
    """Epochs without a lower training loss after which plateau divides the learning rate by 10."""

    warmup_epochs: int = 0
    """Epochs over which the learning rate climbs linearly from 0."""

    max_gradient_norm: float = 0.0
    """The norm that gradients are clipped to; 0 clips nothing."""

    precision: str = "float32"
    """float32, or bfloat16 (mixed precision, needs a GPU)."""

    first_rung_epochs: int = 10
    """Epochs until the first rung: the first evaluation, and the first pruning decision."""

    reduction_factor: int = 3
    """Epochs from one rung to the next are multiplied by it; the last epoch is a rung too."""

    checkpoint_every_steps: int = 0
    """Steps between two checkpoints, beside those at rungs; 0 saves after each epoch."""

    checkpoint_every_minutes: float = 5.0
    """Minutes after which a checkpoint is written at the next step, beside all others; 0: never."""

    step_timeout_seconds: float = 75.0
    """Seconds after which a worker in the middle of a step is ended and started again from the
    newest checkpoint, its threads' stacks in its log; a step may also take ten times the slowest
    one before it. 0: never."""

    num_checkpoints_kept: int = 2
    """The newest checkpoints that stay in the store."""

    log_every_steps: int = 10
    """Steps over which the logged means are taken."""

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
            "checkpoint_every_minutes",
            "step_timeout_seconds",
        ):
            check(
                getattr(self, name) >= 0,
                f"training.{name}",
                getattr(self, name),
                "must not be negative",
            )

    @property
    def rungs(self) -> tuple[int, ...]:
        """The epochs after which a run is evaluated, ascending; the last epoch is one of them."""
        rungs = []
        epoch = self.first_rung_epochs
        while epoch < self.num_epochs:
            rungs.append(epoch)
            epoch *= self.reduction_factor
        return (*rungs, self.num_epochs)
