"""The learner: network, optimiser, schedule and precision, advanced by `step`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from prp_core.allocator import keep_freed_memory
from prp_core.checks import check
from prp_core.data.spans import SpanBatch, SpanSample
from prp_core.encoders.padded_channels import pad_network
from prp_core.numerics import set_determinism, set_precision
from prp_core.pretext.network import PrpNetwork, build_network
from prp_core.pretext.targets import PretextBatch, assemble_batch, pack_batch
from prp_core.pretext.task import PretextTask
from prp_core.step_numbers import StepNumbers
from prp_core.training.loss_model import LossModel, compile_model
from prp_core.training.micro_batches import MicroBatches
from prp_core.training.optimisers import OPTIMISERS
from prp_core.training.precision_canary import check_bfloat16
from prp_core.training.pretrain_config import PretrainConfig
from prp_core.training.recompute import recompute_blocks
from prp_core.training.schedule import (
    MIN_LEARNING_RATE,
    SCHEDULES,
    Schedule,
    ScheduleTerms,
    WarmUp,
)
from prp_core.training.synced_norm import sync_norms
from prp_core.training.training_config import TrainingConfig
from prp_core.world import World, load_buffers, share_buffers

log = logging.getLogger(__name__)

FEWEST_CLIPS_PER_NORM = 4
MOMENTS_AND_BUCKETS = 3
"""Of the weights' size: two moments of AdamW, and the buckets of gradients on their way."""


def check_precision(precision: str, device: torch.device) -> None:
    """Raise `UserError` for bfloat16 and tf32 on a CPU.

    There oneDNN's weight gradient of a 3x3x3 convolution over two frames is left-over memory (torch
    2.15: errors of 100 % up to infinity), and two frames are what the encoders' last stages see of
    a clip of 16. TF32 is a format of GPUs.
    """
    ok = precision == "float32" or device.type != "cpu"
    reason = {"bfloat16": "on a CPU torch's bfloat16 convolutions return wrong gradients; "}
    check(
        ok,
        "training.precision",
        precision,
        f"needs a GPU; {reason.get(precision, '')}use 'float32'",
    )


def build_optimiser(network: PrpNetwork, training: TrainingConfig) -> torch.optim.Optimizer:
    """The configured optimiser, with a parameter group of its own for the linear classifiers, and
    one for the encoder where its learning rate is another than the others'.

    ``base_rate`` of a group is its learning rate at a schedule's factor of 1; the classifiers' and
    the encoder's are multiples of the others'.
    """
    own: list[tuple[list[nn.Parameter], float]] = [
        (network.classifier_parameters(), training.classifier_learning_rate_multiplier)
    ]
    if training.encoder_learning_rate_multiplier != 1:
        encoder = list(network.encoder.parameters())
        own.append((encoder, training.encoder_learning_rate_multiplier))
    ids = {id(parameter) for parameters, _ in own for parameter in parameters}
    others = [parameter for parameter in network.parameters() if id(parameter) not in ids]
    groups = [
        {"params": parameters, "base_rate": training.learning_rate * multiplier}
        for parameters, multiplier in [(others, 1.0), *own]
    ]
    return OPTIMISERS[training.optimiser](
        groups,
        learning_rate=training.learning_rate,
        momentum=training.momentum,
        weight_decay=training.weight_decay,
        fused=next(network.parameters()).device.type == "cuda",
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


def blank_batch(config: PretrainConfig, num_clips: int, device: torch.device) -> PretextBatch:
    """A batch of grey clips at the sizes of `config`, on `device`."""
    clip = config.clip
    sampling = config.pretext.span_sampling(clip.length)
    rate = sampling.rates[0]
    positions = sampling.positions[rate]
    size = (len(positions), clip.resize_height, clip.resize_width, 3)
    frames_NHWC = torch.full(size, 128, dtype=torch.uint8)
    samples = tuple(
        SpanSample(frames_NHWC, positions, rate, 0, place, 0, epoch=0, index=place)
        for place in range(num_clips)
    )
    packed = pack_batch(SpanBatch(samples), clip, config.pretext, device, (config.seed, "blank"))
    return assemble_batch(packed.to(device), clip, config.pretext)


def total_loss(
    losses: Mapping[str, torch.Tensor], tasks: Mapping[str, PretextTask]
) -> torch.Tensor:
    """The sum of the tasks' losses, each times its weight."""
    return torch.stack([tasks[name].loss_weight * loss for name, loss in losses.items()]).sum()


class Learner:
    """Updates a network from one batch after another, on every worker of `world` at the same time.

    The gradient is that of the mean loss over the whole batch, however unevenly the batch is
    shared, except that batch norm takes its statistics from each worker's share alone (as the
    published code does on several GPUs) unless it is synced. Evaluation, export and checkpoints use
    the first worker's running statistics.
    """

    def __init__(self, config: PretrainConfig, world: World, steps_per_epoch: int) -> None:
        training = config.training
        check_precision(training.precision, world.device)
        set_precision(training.precision)
        set_determinism(training.deterministic)
        if world.device.type == "cpu":
            keep_freed_memory()
        self._config = config
        self._world = world
        self._training = training
        self._tasks = config.pretext.active
        self.network: PrpNetwork = build_network(config).to(world.device)
        pad_network(self.network, pads=training.pad_channels)
        if training.recompute:
            recompute_blocks(self.network)
        self._micro = MicroBatches(training.micro_batch_size, may_halve=world.size == 1)
        if world.size > 1 and world.device.type == "cuda":
            self.fit_to_memory()
        if training.batch_norm == "synced" and world.size > 1:
            sync_norms(self.network, world)
        self.schedule = build_schedule(training, steps_per_epoch)
        self.global_step = 0
        self._optimiser = build_optimiser(self.network, training)
        if training.precision == "bfloat16":
            self._check_bfloat16()
        model = LossModel(self.network, self._tasks)
        compile_model(model, training.compile)
        # The graph of a step is always the same, unless only its last part is shared.
        self._model = world.wrap(model, is_static=not self._micro.size)
        self._log_fused_stages()
        self._warn_of_few_clips()

    @property
    def _clips_at_a_time(self) -> int:
        share = max(1, self._training.batch_size // self._world.size)
        return min(self._micro.size or share, share)

    @property
    def clips_per_norm(self) -> int:
        """The clips whose statistics batch norm takes in training."""
        is_synced = self._training.batch_norm == "synced"
        return self._clips_at_a_time * (self._world.size if is_synced else 1)

    def fit_to_memory(self) -> None:
        """Agree with the other workers on parts of a batch for which each has enough memory.

        A forward and backward pass on blank clips says so, beside memory of the size of what comes
        with the first update (the optimiser's moments, gradients on their way). It leaves no trace.
        """
        share = -(-self._training.batch_size // self._world.size)
        model = LossModel(self.network.train(), self._tasks)
        buffers = self._buffers_before()
        num_bytes = sum(one.numel() * one.element_size() for one in self.network.parameters())

        def attempt(num_clips: int) -> None:
            try:
                batch = blank_batch(self._config, num_clips, self._world.device)
                later = torch.empty(
                    MOMENTS_AND_BUCKETS * num_bytes, dtype=torch.uint8, device=self._world.device
                )
                with self._autocast():
                    _, losses = model(batch.clip_BCTHW, batch.targets)
                total_loss(losses, self._tasks).backward()
                del later
            finally:
                self._forget(buffers)

        self._micro.fit(share, self._world, attempt)

    def _warn_of_few_clips(self) -> None:
        if self._world.size > 1 and self.clips_per_norm < FEWEST_CLIPS_PER_NORM:
            log.warning(
                "batch norm takes its statistics from %d clips a worker, fewer than %d: they are "
                "noisy, and the run is not that of one worker; set training.batch_norm = 'synced'",
                self.clips_per_norm,
                FEWEST_CLIPS_PER_NORM,
            )

    def _check_bfloat16(self) -> None:
        """See `check_bfloat16`; on clips as this worker will see them."""
        clip = self._config.clip
        size = (self._clips_at_a_time, 3, clip.length, clip.crop, clip.crop)
        check_bfloat16(self.network.eval(), torch.rand(size, device=self._world.device))

    def _log_fused_stages(self) -> None:
        """Say once which stages of a decoder are computed fused, for this worker's clips."""
        num_clips = self._clips_at_a_time
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
        """The learning rate of the next step, before any multiplier."""
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
        buffers = self._buffers_before() if self._micro.may_halve else {}
        sums, names = self._micro.run(batch, self._backward, lambda: self._undo(buffers))
        gradient_norm = self._clip_gradients().double()[None]
        self._optimiser.step()
        self.global_step += 1
        num_clips = sums[-1:]
        totals = self._world.sum_tensor(
            torch.cat([sums[:-1], gradient_norm * num_clips, num_clips])
        )
        return StepNumbers(
            self.global_step, (*names, "train/gradient_norm"), totals[:-1] / totals[-1]
        )

    def _backward(self, parts: list[PretextBatch]) -> tuple[torch.Tensor, tuple[str, ...]]:
        """Gradients of the mean over all workers' clips; this worker's sums of numbers, by name.

        The last sum is the number of its clips.
        """
        self._optimiser.zero_grad(set_to_none=True)
        sums: list[torch.Tensor] = []
        names: tuple[str, ...] = ()
        for place, part in enumerate(parts, start=1):
            is_last = place == len(parts)
            with self._world.gradients_stay(self._model, stay=not is_last):
                with self._autocast():
                    outputs, losses = self._model(part.clip_BCTHW, part.targets)
                loss = total_loss(losses, self._tasks)
                (loss * self._share(part)).backward()
            numbers, names = self._numbers(part, loss, losses, outputs)
            sums.append(numbers)
        return (sums[0] if len(sums) == 1 else torch.stack(sums).sum(dim=0)), names

    def _buffers_before(self) -> dict[str, torch.Tensor]:
        return {name: buffer.clone() for name, buffer in self.network.named_buffers()}

    def _undo(self, buffers: Mapping[str, torch.Tensor]) -> None:
        """Forget an attempt at a step that ended before its update."""
        self._forget(buffers)

    def _forget(self, buffers: Mapping[str, torch.Tensor]) -> None:
        self.network.zero_grad(set_to_none=True)
        load_buffers(self.network, buffers)
        if self._world.device.type == "cuda":
            torch.cuda.empty_cache()

    def _autocast(self) -> AbstractContextManager[object]:
        if self._training.precision != "bfloat16":
            return nullcontext()
        return torch.autocast(self._world.device.type, dtype=torch.bfloat16)

    def _share(self, batch: PretextBatch) -> float:
        """The factor that makes the workers' averaged gradients that of the whole batch's mean.

        It differs from 1 where the workers' shares differ by a clip, and for a part of a share.
        """
        return len(batch) * self._world.size / self._training.batch_size

    def _clip_gradients(self) -> torch.Tensor:
        limit = self._training.max_gradient_norm
        parameters = list(self.network.parameters())
        if limit:
            return nn.utils.clip_grad_norm_(parameters, limit)
        return nn.utils.get_total_norm([one.grad for one in parameters if one.grad is not None])

    @torch.no_grad()
    def _numbers(
        self,
        batch: PretextBatch,
        loss: torch.Tensor,
        losses: Mapping[str, torch.Tensor],
        outputs: Mapping[str, torch.Tensor],
    ) -> tuple[torch.Tensor, tuple[str, ...]]:
        """Each number summed over the clips of `batch`, and their names; last how many clips."""
        names = ["train/loss", *(self._tasks[name].loss_name for name in losses)]
        vectors = [torch.stack([loss, *losses.values()]).double()]
        for name, task in self._tasks.items():
            names.extend(task.metric_names)
            vectors.append(task.metrics(outputs[name], batch.targets[name]))
        values = torch.cat(vectors)
        num_clips = values.new_full((1,), len(batch))
        return torch.cat([values * num_clips, num_clips]), tuple(names)

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
