"""The names of a run's checkpoints in a store, which can be read where torch is not."""

from __future__ import annotations

from prp_core.data.object_store import ObjectStore

COMMIT_NAME = "commit.json"
STEP_PREFIX = "step-"


def step_folder(prefix: str, step: int) -> str:
    """The folder of the checkpoint after `step` optimiser steps; sorted by name, they are sorted by
    step.
    """
    return f"{prefix}/{STEP_PREFIX}{step:010d}"


def step_of(prefix: str, key: str) -> int:
    """The step of the checkpoint to which the object `key` belongs."""
    return int(key.removeprefix(f"{prefix}/{STEP_PREFIX}").partition("/")[0])


def newest_step(store: ObjectStore, prefix: str) -> int:
    """The step of the newest checkpoint that was committed below `prefix`; 0 without any.

    Raises `StoreUnavailable` when the store cannot say.
    """
    keys = [info.key for info in store.list(f"{prefix}/{STEP_PREFIX}")]
    steps = [step_of(prefix, key) for key in keys if key.endswith(f"/{COMMIT_NAME}")]
    return max(steps, default=0)
