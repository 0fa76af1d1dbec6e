"""Micro-batches: a batch that goes through the network in parts, its gradients added up.

The mean over the batch's clips stays what is minimised. Batch norm takes its statistics from each
part, as it does from each worker's share.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from typing import Any, TypeVar

import torch

from prp_core.pretext.targets import PretextBatch
from prp_core.training.memory import is_out_of_memory

log = logging.getLogger(__name__)

MAX_HALVINGS = 2

Value = TypeVar("Value")


def split_batch(batch: PretextBatch, size: int) -> list[PretextBatch]:
    """`batch` in parts of at most `size` clips (0: in one part), in order; views, not copies."""
    if not size or size >= len(batch):
        return [batch]
    return [
        PretextBatch(
            batch.clip_BCTHW[first : first + size],
            {name: rows_of(one, first, first + size) for name, one in batch.targets.items()},
        )
        for first in range(0, len(batch), size)
    ]


def rows_of(targets: Any, first: int, stop: int) -> Any:
    """Clips `first` to `stop` of a task's targets: a tensor, or a dataclass of tensors."""
    if isinstance(targets, torch.Tensor):
        return targets[first:stop]
    values = {
        field.name: rows_of(getattr(targets, field.name), first, stop)
        for field in dataclasses.fields(targets)
    }
    return dataclasses.replace(targets, **values)


class MicroBatches:
    """Splits batches into parts of `size` clips (0: none), and halves it when memory runs out.

    At most `MAX_HALVINGS` times, where `may_halve`: on several workers one that tries again would
    leave the others waiting.
    """

    def __init__(self, size: int, *, may_halve: bool) -> None:
        self.size = size
        self._halvings_left = MAX_HALVINGS if may_halve else 0

    @property
    def may_halve(self) -> bool:
        """Whether the next lack of memory is met with smaller parts."""
        return self._halvings_left > 0

    def run(
        self,
        batch: PretextBatch,
        attempt: Callable[[list[PretextBatch]], Value],
        undo: Callable[[], None],
    ) -> Value:
        """What `attempt` returns for the parts of `batch`; again, after `undo`, on smaller ones."""
        while True:
            parts = split_batch(batch, self.size)
            try:
                return attempt(parts)
            except (RuntimeError, MemoryError) as error:
                smaller = (len(parts[0]) + 1) // 2
                is_last = not self.may_halve or smaller == len(parts[0])
                if is_last or not is_out_of_memory(error):
                    raise
            # Only here is the traceback gone, and with it the tensors of the attempt.
            self._halvings_left -= 1
            self.size = smaller
            undo()
            log.warning(
                "memory ran out: %d clips go through the network at a time from now on "
                "(training.micro_batch_size); the batch of %d stays",
                smaller,
                len(batch),
            )
