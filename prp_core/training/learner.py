"""The learner: network, optimiser, schedule and precision, advanced by `step`."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from prp_core.checks import check
from prp_core.pretext.network import PrpNetwork, build_network
from prp_core.pretext.targets import PretextBatch
from prp_core.pretext.task import PretextTask
from prp_core.step_numbers import StepNumbers
from prp_core.training.optimisers import OPTIMISERS
from prp_core.training.pretrain_config import PretrainConfig
from prp_core.training.schedule import (
    MIN_LEARNING_RATE,
    SCHEDULES,
    Schedule,
    ScheduleTerms,
    WarmUp,
)
from prp_core.training.training_config import TrainingConfig
from prp_core.world import World, load_buffers, share_buffers

log = logging.getLogger(__name__)


def check_precision(precision: str, device: torch.device) -> None:
    """Raise `UserError` for bfloat16 on a CPU.

    There oneDNN's weight gradient of a 3x3x3 convolution over two frames is left-over memory (torch
    2.15: errors of 100 % up to infinity), and two frames are what the encoders' last stages see of
    a clip of 16.
    """
    ok = precision != "bfloat16" or device.type != "cpu"
    check(
        ok,
        "training.precision",
        precision,
        "needs a GPU; on a CPU torch's bfloat16 convolutions return wrong gradients; use 'float32'",
    )


def build_optimiser(network: PrpNetwork, training: TrainingConfig) -> torch.optim.Optimizer:
    """The configured optimiser, with a parameter group of its own for the linear classifiers.

    ``base_rate`` of a group is its learning rate at a schedule's factor of 1; the classifiers' is a
    multiple of the others'.
    """
    classifier = network.classifier_parameters()
    ids = {id(parameter) for parameter in classifier}
    others = [parameter for parameter in network.parameters() if id(parameter) not in ids]
    multiplied = training.learning_rate * training.classifier_learning_rate_multiplier
    groups = [
        {"params": others, "base_rate": training.learning_rate},
        {"params": classifier, "base_rate": multiplied},
    ]
    return OPTIMISERS[training.optimiser](
        groups,
        learning_rate=training.learning_rate,
        momentum=training.momentum,
        weight_decay=training.weight_decay,
    )


def build_schedule(training: TrainingConfig, steps_per_epoch: int) -> Schedule:
    """The configured schedule, after its warm-up."""
    warmup_steps = training.warmup_epochs * steps_per_epoch
    terms = ScheduleTerms(
        num_steps=max(1, training.num_epochs * steps_per_epoch - warmup_steps),
        patience_epochs=training.plateau_patience_epochs,
        lowest_factor=min(1.0, MIN_LEARNING_RATE / training.learning_rate),
    )
    return WarmUp(SCHEDULES[training.schedule](terms), warmup_steps)


def total_loss(
    losses: Mapping[str, torch.Tensor], tasks: Mapping[str, PretextTask]
) -> torch.Tensor:
    """The sum of the tasks' losses, each times its weight."""
    return torch.stack([tasks[name].loss_weight * loss for name, loss in losses.items()]).sum()


class Learner:
    """Updates a network from one batch after another, on every worker of `world` at the same time.

    The gradient is that of the mean loss over the whole batch, however unevenly the batch is
    shared, except that batch norm takes its statistics from each worker's share alone (as the
    published code does on several GPUs). Evaluation, export and checkpoints use the first worker's
    running statistics.
    """

    def __init__(self, config: PretrainConfig, world: World, steps_per_epoch: int) -> None:
        check_precision(config.training.precision, world.device)
        self._config = config
        self._world = world
        self._training = config.training
        self._tasks = config.pretext.active
        self.network: PrpNetwork = build_network(config).to(world.device)
        self.schedule = build_schedule(config.training, steps_per_epoch)
        self.global_step = 0
        self._optimiser = build_optimiser(self.network, config.training)
        self._wrapped = world.wrap(self.network)
        self._log_fused_stages()

    def _log_fused_stages(self) -> None:
        """Say once which stages of a decoder are computed fused, for this worker's clips."""
        num_clips = max(1, self._training.batch_size // self._world.size)
        clip = self._config.clip
        for name, stages in self.network.fused_stages(num_clips, clip.length, clip.crop).items():
            log.info(
                "the decoder of %s fuses %s (by their cost for %d clips of %d x %d x %d)",
                name,
                ", ".join(stages) or "no stage",
                num_clips,
                clip.length,
                clip.crop,
                clip.crop,
            )

    @property
    def learning_rate(self) -> float:
        """The encoder's learning rate for the next step."""
        return self._training.learning_rate * self.schedule.factor(self.global_step)

    def step(self, batch: PretextBatch) -> StepNumbers:
        """Update the weights once; the step's numbers as means over the clips of all workers.

        ``train/loss``, ``train/gradient_norm``, and of each task that is on its loss and its
        metrics (`prp_core.training.metrics`). Nothing waits for the device: a loss or gradient that
        is not finite is found, on every worker, when the numbers are read. Whoever saves, evaluates
        or exports the weights reads them before.
        """
        self.network.train()
        for group in self._optimiser.param_groups:
            group["lr"] = group["base_rate"] * self.schedule.factor(self.global_step)
        self._optimiser.zero_grad(set_to_none=True)
        outputs = self._forward(batch)
        losses = {
            name: task.loss(outputs[name], batch.targets[name])
            for name, task in self._tasks.items()
        }
        loss = total_loss(losses, self._tasks)
        (loss * self._share(batch)).backward()  # type: ignore[no-untyped-call]
        gradient_norm = self._clip_gradients()
        self._optimiser.step()
        self.global_step += 1
        scalars = {
            "train/loss": loss,
            **{self._tasks[name].loss_name: value for name, value in losses.items()},
            "train/gradient_norm": gradient_norm,
        }
        return self._numbers(batch, scalars, outputs)

    def _forward(self, batch: PretextBatch) -> dict[str, torch.Tensor]:
        """Each head's output, in float32 whatever the precision of the network."""
        with self._autocast():
            outputs = self._wrapped(batch.clip_BCTHW)
        return {name: output.float() for name, output in outputs.items()}

    def _autocast(self) -> AbstractContextManager[object]:
        if self._training.precision == "float32":
            return nullcontext()
        return torch.autocast(self._world.device.type, dtype=torch.bfloat16)

    def _share(self, batch: PretextBatch) -> float:
        """The factor that makes the workers' averaged gradients that of the whole batch's mean.

        It differs from 1 where the workers' shares differ by a clip.
        """
        return len(batch) * self._world.size / self._training.batch_size

    def _clip_gradients(self) -> torch.Tensor:
        limit = self._training.max_gradient_norm or math.inf
        return nn.utils.clip_grad_norm_(self.network.parameters(), limit)

    @torch.no_grad()
    def _numbers(
        self,
        batch: PretextBatch,
        scalars: Mapping[str, torch.Tensor],
        outputs: Mapping[str, torch.Tensor],
    ) -> StepNumbers:
        """Each number's mean over the clips of all workers, by true counts."""
        names = list(scalars)
        vectors = [torch.stack(list(scalars.values())).double()]
        for name, task in self._tasks.items():
            names.extend(task.metric_names)
            vectors.append(task.metrics(outputs[name], batch.targets[name]))
        values = torch.cat(vectors)
        num_clips = values.new_full((1,), len(batch))
        sums = self._world.sum_tensor(torch.cat([values * num_clips, num_clips]))
        return StepNumbers(self.global_step, tuple(names), sums[:-1] / sums[-1])

    def share_buffers(self) -> None:
        """Copy the first worker's running statistics to every worker, for an evaluation."""
        share_buffers(self.network, self._world)

    def state(self) -> dict[str, Any]:
        """The state that all workers have in common: tensors and plain values."""
        return {
            "network": self.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "schedule": self.schedule.state(),
            "global_step": self.global_step,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue where `state` was taken."""
        self.network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state(state["schedule"])
        self.global_step = state["global_step"]

    def own_state(self) -> dict[str, Any]:
        """This worker's own state: batch norm's running statistics and torch's generators."""
        generators = {"cpu": torch.get_rng_state()}
        if self._world.device.type == "cuda":
            generators["cuda"] = torch.cuda.get_rng_state(self._world.device)
        return {"buffers": dict(self.network.named_buffers()), "generators": generators}

    def load_own_state(self, state: Mapping[str, Any]) -> None:
        """Continue where `own_state` was taken.

        A generator of a device that this worker does not use is left alone.
        """
        load_buffers(self.network, state["buffers"])
        torch.set_rng_state(state["generators"]["cpu"])
        if self._world.device.type == "cuda" and "cuda" in state["generators"]:
            torch.cuda.set_rng_state(state["generators"]["cuda"], self._world.device)
