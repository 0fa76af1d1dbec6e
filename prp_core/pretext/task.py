"""The pretext task protocol: what a task asks of a span, of the network and of a training step.

A task is a frozen dataclass in a file of its own: its fields are its config values, its methods the
protocol's. It is listed by one field of `PretextTasks` (`pretext_config.py`); the network, the
batch and the learner iterate over those fields and name no task.

The files of tasks import torch inside the functions that compute, because a config is also read by
processes that never compute (a sweep's coordinator, the command line).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from prp_core.data.spans import SpanSample

if TYPE_CHECKING:
    import torch
    from torch import nn

Tables = dict[str, list[Any]]
"""Whole numbers (nested lists of ints) by name, which travel to the device in one go."""


@dataclass(frozen=True)
class SpanRows:
    """The spans of a batch, and where their frames lie in the batch's frame tensor.

    That tensor holds the frames of all samples, one after another. ``row_of[b]`` maps the positions
    that sample b carries to rows of it.
    """

    samples: tuple[SpanSample, ...]
    clip_length: int
    row_of: tuple[Mapping[int, int], ...]

    def __iter__(self) -> Iterator[tuple[SpanSample, Mapping[int, int]]]:
        return zip(self.samples, self.row_of, strict=True)


@runtime_checkable
class PretextTask(Protocol):
    """A pretext task that can be switched on by its loss weight.

    Targets are made in two steps: `tables` in whole numbers on the CPU, sample by sample; `targets`
    on the device, the whole batch at once. `Targets` is whatever the task's own `loss` and
    `metrics` read.
    """

    loss_name: ClassVar[str]
    """The metric that holds the unweighted loss, for example ``"train/rate_loss"``."""

    @property
    def loss_weight(self) -> float:
        """The loss's share in the total, at least 0; 0 switches the task off."""
        ...

    @property
    def reversed_share(self) -> float:
        """The share (0 to 1) of spans that are played backwards for this task."""
        return 0.0

    def positions(self, clip_length: int, rate: int) -> Iterable[int]:
        """Positions in the span of the frames that `tables` looks up, beside those of the clip.

        0 to ``clip_length * rate - 1``; 0 is the first frame that is played.
        """
        return ()

    def tables(self, spans: SpanRows) -> Tables:
        """Rows, labels and other whole numbers that `targets` needs."""
        ...

    def targets(self, frames_NCHW: torch.Tensor, tables: Mapping[str, torch.Tensor]) -> Any:
        """The batch's targets on the device of `frames_NCHW` (float32 in [0, 1], cropped).

        `tables` holds the task's own tables as int64 tensors.
        """
        ...

    def head(self, channels: int) -> nn.Module:
        """The module from this task's features (B, channels, T/8, H/16, W/16) to its output."""
        ...

    def loss(self, output: torch.Tensor, targets: Any) -> torch.Tensor:
        """The mean loss over the batch's clips, unweighted; `output` (float32) is the head's."""
        ...

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The names of `metrics`, in its order.

        ``train/...`` are logged at each log window and over an epoch; others reach
        `epoch_metrics` alone.
        """
        return ()

    def metrics(self, output: torch.Tensor, targets: Any) -> torch.Tensor:
        """Means over the batch's clips, one for each of `metric_names`: float64 (M,)."""
        return output.new_zeros(0).double()

    def epoch_metrics(self, means: Mapping[str, float]) -> dict[str, float]:
        """Metrics that are logged at an epoch's end, beside the means of ``train/...``.

        `means` holds the epoch's mean of every number.
        """
        return {}
