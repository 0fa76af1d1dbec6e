"""How long and with which optimiser a run trains."""

from __future__ import annotations

from dataclasses import dataclass

from prp_core.checks import check, check_choice
from prp_core.training.optimisers import OPTIMISERS
from prp_core.training.schedule import SCHEDULES

PRECISIONS = {
    "float32": "strict: on a GPU, too, products have 24 bits",
    "tf32": "float32 whose convolutions and matrix products have 11 bits, on GPUs alone",
    "bfloat16": "mixed precision by autocast, on GPUs alone; losses and weights stay float32",
}
COMPILING = {
    "off": "operator by operator",
    "default": "network and losses as one compiled graph",
    "cuda-graphs": "compiled, and replayed as a CUDA graph: for small batches on a GPU",
}
BATCH_NORMS = {
    "worker": "statistics of each worker's own clips, as the published code does",
    "synced": "statistics of the clips of all workers: several learn as one does",
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

    encoder_learning_rate_multiplier: float = 1.0
    """Learning rate of the encoder, as a multiple of the others', above 0. Below 1 the heads learn
    from features that change slowly: a decoder keeps up with them."""

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
    """float32 (strict), tf32 or bfloat16 (mixed precision); both need a GPU. Evaluation computes in
    strict float32 whatever it is."""

    batch_norm: str = "worker"
    """worker (statistics of each worker's clips) or synced (of the clips of all workers, so that
    their number changes nothing but rounding). Below four clips a worker should be synced."""

    compile: str = "off"
    """off, default (network and losses become one compiled graph) or cuda-graphs (replayed as one,
    on a GPU). The first step takes minutes."""

    micro_batch_size: int = 0
    """Clips that go through the network at a time on a worker, gradients added up; 0: its whole
    share. When memory runs out it is halved, at most twice: on one worker in the step, on several
    GPUs for all of them in a trial step before the first. Batch norm takes its statistics from
    these clips."""

    recompute: bool = False
    """Whether activations are computed again in the backward pass instead of kept: less memory, a
    step about a third longer, the same numbers."""

    pad_channels: bool = False
    """Whether convolutions whose channels are not a multiple of 8 are computed with zeros added, as
    a GPU's tensor cores want them: those of R(2+1)D, and all that see the clip. The same numbers
    but for rounding; not yet measured on a GPU, and slower without one."""

    deterministic: bool = False
    """Whether a GPU uses only kernels that return the same bits each time, so that a resumed run
    equals one that was not interrupted to the last bit; slower."""

    profile_steps: int = 0
    """Steps that are profiled after the first three: a trace and the table of the largest kernels
    are written beside the checkpoints, as `profile/`; 0: none."""

    first_rung_epochs: int = 10
    """Epochs until the first rung: the first evaluation, and the first pruning decision."""

    reduction_factor: int = 3
    """Epochs from one rung to the next are multiplied by it; the last epoch is a rung too."""

    checkpoint_every_steps: int = 0
    """Steps between two checkpoints, beside those at rungs; 0: one after each epoch, unless the one
    before is so young that it would take more than a hundredth of the time."""

    checkpoint_every_minutes: float = 5.0
    """Minutes after which a checkpoint is written at the next step, beside all others; 0: never."""

    step_timeout_seconds: float = 60.0
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
        check_choice("training.compile", self.compile, COMPILING)
        check_choice("training.batch_norm", self.batch_norm, BATCH_NORMS)
        check(
            self.compile == "off" or self.batch_norm == "worker",
            "training.batch_norm",
            self.batch_norm,
            "does not go with training.compile: workers talk in the middle of the graph; choose "
            "'worker' or compile = 'off'",
        )
        check(
            self.compile == "off" or not self.recompute,
            "training.recompute",
            self.recompute,
            "does not go with training.compile, which keeps little by itself; choose one of them",
        )
        for name in ("learning_rate", "encoder_learning_rate_multiplier"):
            value = getattr(self, name)
            check(value > 0, f"training.{name}", value, "must be positive")
        for name in (
            "classifier_learning_rate_multiplier",
            "momentum",
            "weight_decay",
            "max_gradient_norm",
            "warmup_epochs",
            "checkpoint_every_steps",
            "checkpoint_every_minutes",
            "step_timeout_seconds",
            "micro_batch_size",
            "profile_steps",
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
