"""The asynchronous checkpoint writer: a thread that writes a checkpoint while training goes on.

A worker copies its state into host memory and goes on; the thread encodes and writes it. What the
workers have to say to each other about it (my part is written, my write failed) travels in the one
all-reduce that precedes each step anyway, so the threads make no collective calls. The first worker
commits once every part is in the store. One checkpoint is under way at a time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from enum import StrEnum
from typing import Any

import torch

from prp_core.agreement import together
from prp_core.training.checkpoint import Checkpoint, CheckpointFolder, Part, joined_parts
from prp_core.world import World

log = logging.getLogger(__name__)

BUSY = "a checkpoint is being written"
FAILED = "a checkpoint could not be written"

MAX_SHARE = 0.01
"""Of the time since the checkpoint before, that one which only an epoch's end asks for may cost."""

Files = Callable[[], Mapping[str, bytes]]
"""Encodes a worker's files by name; called on the writer's thread."""


class Stage(StrEnum):
    """How far the checkpoint under way is; the same on every worker."""

    IDLE = "idle"
    """None is under way."""

    WRITING = "writing"
    """Each worker writes its part."""

    COMMITTING = "committing"
    """Every part is written; the first worker commits."""


class CheckpointWriter:
    """Writes the checkpoints of `folder`; each method is called by every worker of `world`.

    What a write or a commit raises is raised by the method that learns of it (`listen`, `start`,
    `flush`), on every worker: the failing one's own error there, `OtherWorkerFailed` elsewhere, and
    `Superseded` everywhere. `close` gives up what other workers would have to agree to.
    """

    def __init__(self, folder: CheckpointFolder, world: World) -> None:
        self._folder = folder
        self._world = world
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="checkpoint-writer")
        self._memory = HostMemory()
        self._stage = Stage.IDLE
        self._job: Future[Any] | None = None
        self._step = 0
        self._facts: Mapping[str, Any] = {}
        self._allocating: Future[None] | None = None
        self._spent_seconds = 0.0
        self._cost_seconds = 0.0

    @property
    def is_idle(self) -> bool:
        """Whether no checkpoint is under way; the same on every worker."""
        return self._stage is Stage.IDLE

    def is_cheap_after(self, seconds: float) -> bool:
        """Whether a checkpoint `seconds` after the one before would take at most `MAX_SHARE` of
        them, by the CPU-seconds of this worker's threads that the last one took; the first one is
        cheap.
        """
        return self.is_idle and self._cost_seconds <= MAX_SHARE * seconds

    def allocate(self, state: Callable[[], Any]) -> None:
        """Allocate the memory of `copies` on the thread, the first time that it is called, so that
        the first copies take no longer than later ones.
        """
        if self._allocating is None:
            self._allocating = self._threads.submit(self._memory.allocate, state())

    def copies(self, state: Any) -> Any:
        """`state` with its tensors copied to host memory, for `start`. Only when idle: the memory
        is the last copies'.
        """
        assert self.is_idle, self._stage
        if self._allocating is not None:
            self._allocating.result()
        started = time.thread_time()
        copied = self._memory.copies(state)
        self._spent_seconds = time.thread_time() - started
        return copied

    def start(self, step: int, files: Files, facts: Mapping[str, Any]) -> None:
        """Begin the checkpoint of `step`: this worker's `files`, and `facts` in its commit.

        One under way is waited for.
        """
        self.flush()
        self._step = step
        self._facts = facts
        if self._world.size == 1:  # nobody else's part to wait for
            self._begin(Stage.COMMITTING, lambda: self._commit(self._write(files)))
        else:
            self._begin(Stage.WRITING, lambda: self._write(files))

    def says(self) -> dict[str, bool]:
        """What this worker has to say about the checkpoint under way, for `together_asking`."""
        job = self._job
        is_busy = job is not None and not job.done()
        failed = job is not None and job.done() and job.exception() is not None
        return {BUSY: is_busy, FAILED: failed}

    def listen(self, said: set[str]) -> None:
        """Take the next step of the checkpoint under way if the workers, of which any one said what
        is in `said`, are ready for it. Waits only where one failed.
        """
        if not self.is_idle and (FAILED in said or BUSY not in said):
            self._advance()

    def flush(self) -> None:
        """Wait until the checkpoint under way is committed."""
        while not self.is_idle:
            self._advance()

    def close(self) -> None:
        """Wait for this worker's thread and end it."""
        self._threads.shutdown(wait=True)
        if self._job is not None and (error := self._job.exception()) is not None:
            log.warning("the checkpoint of step %d was not written: %s", self._step, error)

    def _begin(self, stage: Stage, action: Callable[[], Any]) -> None:
        def counted() -> Any:
            started = time.thread_time()
            try:
                return action()
            finally:
                self._spent_seconds += time.thread_time() - started

        self._stage = stage
        self._job = self._threads.submit(counted)

    def _advance(self) -> None:
        job = self._job
        stage = self._stage
        self._job = None
        self._stage = Stage.IDLE  # and so it stays where a worker raises
        if stage is Stage.WRITING:
            assert job is not None
            own: list[Part] = together(
                self._world, f"writing the checkpoint of step {self._step}", job.result
            )
            parts = self._world.gather(own)
            self._stage = Stage.COMMITTING
            if self._world.is_first:
                self._begin(Stage.COMMITTING, lambda: self._commit(*parts))
        else:
            self._folder.first_alone(
                self._world,
                f"committing the checkpoint of step {self._step}",
                lambda: job.result() if job is not None else None,
            )
            self._cost_seconds = self._spent_seconds

    def _write(self, files: Files) -> list[Part]:
        self._memory.wait()
        return self._folder.write_parts(self._step, files())

    def _commit(self, *shares: Sequence[Part]) -> None:
        self._folder.commit(Checkpoint(self._step, dict(self._facts), joined_parts(shares)))


class HostMemory:
    """Host copies of a state whose tensors keep their shapes, in memory that is allocated once."""

    def __init__(self) -> None:
        self._tensors: dict[str, torch.Tensor] = {}
        self._copied: torch.cuda.Event | None = None

    def allocate(self, state: Any) -> None:
        """Allocate the memory for `state` and touch it; of its tensors only the shapes are read."""
        mapped(state, lambda tensor, path: self._place_of(tensor, path).zero_())

    def copies(self, state: Any) -> Any:
        """A tree of dicts, lists and plain values with copies of its tensors.

        On a GPU the copying is part of its queue of kernels: nothing waits, and what is launched
        later changes no copy. `wait` returns when they are there.
        """
        devices: set[str] = set()

        def copy(tensor: torch.Tensor, path: str) -> torch.Tensor:
            devices.add(tensor.device.type)
            return self._place_of(tensor, path).copy_(tensor.detach(), non_blocking=tensor.is_cuda)

        copied = mapped(state, copy)
        is_gpu = "cuda" in devices
        self._copied = torch.cuda.current_stream().record_event() if is_gpu else None
        return copied

    def wait(self) -> None:
        """Wait, on any thread, for the copies that were begun last."""
        if self._copied is not None:
            self._copied.synchronize()

    def _place_of(self, tensor: torch.Tensor, path: str) -> torch.Tensor:
        own = self._tensors.get(path)
        if own is None or own.shape != tensor.shape or own.dtype != tensor.dtype:
            own = torch.empty_like(tensor.detach(), device="cpu", pin_memory=tensor.is_cuda)
            self._tensors[path] = own
        return own


def mapped(tree: Any, action: Callable[[torch.Tensor, str], torch.Tensor], path: str = "") -> Any:
    """`tree` of dicts, lists, tuples and plain values with ``action(tensor, path)`` for tensors."""
    if isinstance(tree, torch.Tensor):
        return action(tree, path)
    if isinstance(tree, Mapping):
        return {name: mapped(value, action, f"{path}/{name}") for name, value in tree.items()}
    if isinstance(tree, list | tuple):
        items = [mapped(value, action, f"{path}/{place}") for place, value in enumerate(tree)]
        return tuple(items) if isinstance(tree, tuple) else items
    return tree
