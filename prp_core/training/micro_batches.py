"""Micro-batches: a batch that goes through the network in parts, its gradients added up.

The mean over the batch's clips stays what is minimised. Batch norm takes its statistics from each
part, as it does from each worker's share.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import torch

from prp_core.agreement import together
from prp_core.pretext.targets import PretextBatch
from prp_core.training.memory import is_out_of_memory
from prp_core.world import World

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


def lack_of(attempt: Callable[[int], None], num_clips: int) -> str:
    """Why memory ran out in ``attempt(num_clips)``; empty where it did not."""
    try:
        attempt(num_clips)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return (str(error).splitlines() or [type(error).__name__])[0]
    return ""


class MicroBatches:
    """Splits batches into parts of `size` clips (0: none), and halves it when memory runs out.

    At most `MAX_HALVINGS` times, where `may_halve`: on several workers one that tries again would
    leave the others waiting, so they agree on a size before the first step (`fit`).
    """

    def __init__(self, size: int, *, may_halve: bool) -> None:
        self.size = size
        self._halvings_left = MAX_HALVINGS if may_halve else 0

    @property
    def may_halve(self) -> bool:
        """Whether the next lack of memory is met with smaller parts."""
        return self._halvings_left > 0

    def fit(self, num_clips: int, world: World, attempt: Callable[[int], None]) -> None:
        """Find the size with which ``attempt(clips at a time)``, a trial step without a word to the
        others, has enough memory on every worker.

        Every worker of `world` calls it, `num_clips` being the largest share. When memory runs out
        on any of them, all halve their parts. Raises `torch.OutOfMemoryError` on every worker where
        it still does after `MAX_HALVINGS`.
        """
        for num_left in reversed(range(MAX_HALVINGS + 1)):
            clips = min(self.size or num_clips, num_clips)
            reason = together(world, "trying a step", partial(lack_of, attempt, clips))
            lacks = [(rank, text) for rank, text in enumerate(world.gather(reason)) if text]
            if not lacks:
                return
            rank, text = lacks[0]
            smaller = (clips + 1) // 2
            if not num_left or smaller == clips:
                raise torch.OutOfMemoryError(f"worker {rank}, {clips} clips at a time: {text}")
            self.size = smaller
            if world.is_first:
                log.warning(
                    "memory ran out on worker %d: %d clips go through the network at a time on "
                    "every worker (training.micro_batch_size); the batch stays",
                    rank,
                    smaller,
                )

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
