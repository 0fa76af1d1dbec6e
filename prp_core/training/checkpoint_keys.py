"""The names of a run's checkpoints in a store, which can be read where torch is not.

An attempt at a run writes under names of its own: no attempt overwrites what another one wrote, and
none removes it too late.
"""

from __future__ import annotations

from dataclasses import dataclass

COMMIT_NAME = "commit.json"
STEP_PREFIX = "step-"
NUM_DIGITS = 6


@dataclass(frozen=True, order=True)
class RunAttempt:
    """An attempt at a run; of two, the later is the larger one. A run that is tried once, by one
    process at a time, has the attempt 0 of the epoch 0.
    """

    epoch: int = 0
    number: int = 0

    @property
    def tag(self) -> str:
        """What the names of its objects begin with."""
        if self == ONLY_ATTEMPT:
            return ""
        return f"{self.epoch:0{NUM_DIGITS}d}.{self.number:0{NUM_DIGITS}d}-"


ONLY_ATTEMPT = RunAttempt()


def step_folder(prefix: str, step: int) -> str:
    """The folder of the checkpoints after `step` optimiser steps; sorted by name, they are sorted
    by step.
    """
    return f"{prefix}/{STEP_PREFIX}{step:010d}"


def commit_key(prefix: str, step: int, attempt: RunAttempt) -> str:
    """The object that commits the checkpoint of `attempt` after `step` steps."""
    return f"{step_folder(prefix, step)}/{attempt.tag}{COMMIT_NAME}"


def is_in_step_folder(prefix: str, key: str) -> bool:
    """Whether the object `key` lies right in a checkpoint's folder: what lies deeper, or in a
    folder of another name, is somebody else's.
    """
    folder, _, name = key.removeprefix(f"{prefix}/{STEP_PREFIX}").partition("/")
    is_ours = key.startswith(f"{prefix}/{STEP_PREFIX}") and folder.isascii() and folder.isdigit()
    return is_ours and bool(name) and "/" not in name


def is_commit(key: str) -> bool:
    """Whether the object `key` commits a checkpoint."""
    return key.endswith((f"/{COMMIT_NAME}", f"-{COMMIT_NAME}"))


def step_of(prefix: str, key: str) -> int:
    """The step of the checkpoint to which the object `key` belongs."""
    return int(key.removeprefix(f"{prefix}/{STEP_PREFIX}").partition("/")[0])


def attempt_of(key: str) -> RunAttempt:
    """The attempt that wrote the object `key`."""
    epoch, _, number = key.rpartition("/")[2].partition("-")[0].partition(".")
    is_tagged = len(epoch) >= NUM_DIGITS and epoch.isdigit() and number.isdigit()
    return RunAttempt(int(epoch), int(number)) if is_tagged else ONLY_ATTEMPT
