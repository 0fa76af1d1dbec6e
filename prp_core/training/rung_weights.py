"""The encoder's weights at a rung, stored for evaluation elsewhere.

One object each, named by epoch, step and its own sha256. They are copies, so the checkpoint that
they come from may be removed meanwhile. Nothing that is read can run code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from prp_core.data.object_store import ObjectStore, read_all
from prp_core.errors import CorruptObject
from prp_core.training.checkpoint import from_bytes, to_bytes

NUM_DIGITS = 16


@dataclass(frozen=True)
class StoredRung:
    """The weights after `epoch` epochs and `step` steps lie under `key`."""

    epoch: int
    step: int
    key: str


def write_rung(
    store: ObjectStore, folder: str, *, epoch: int, step: int, weights: Mapping[str, torch.Tensor]
) -> StoredRung:
    """Store `weights` under `folder`; written twice, they are the same object."""
    data = to_bytes(weights)
    key = f"{folder}/{epoch:06d}-{step:010d}-{hashlib.sha256(data).hexdigest()[:NUM_DIGITS]}.pt"
    store.write(key, data)
    return StoredRung(epoch, step, key)


def list_rungs(store: ObjectStore, folder: str) -> list[StoredRung]:
    """The rungs stored under `folder`, by epoch."""
    return [StoredRung(*_place(info.key), info.key) for info in store.list(f"{folder}/")]


def read_rung(store: ObjectStore, key: str) -> dict[str, torch.Tensor]:
    """The weights under `key`, on the CPU.

    Raises `CorruptObject` when they are not those that were written, `ObjectMissing` when gone.
    """
    data = read_all(store, key)
    found = hashlib.sha256(data).hexdigest()[:NUM_DIGITS]
    if found not in key:
        raise CorruptObject(
            f"{store.uri}/{key}: {len(data)} bytes with sha256 {found}, not the one in its name"
        )
    return from_bytes(data)


def _place(key: str) -> tuple[int, int]:
    epoch, step, _ = key.rsplit("/", 1)[-1].split("-")
    return int(epoch), int(step)
