"""Inspection of a node's cache from outside: what each tier holds, verification, clearing."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from prp_core.data.cache.counters import node_counters
from prp_core.data.cache.frame_cache import remove_file_of
from prp_core.data.cache.frames_file import MappedFrames, key_of_file
from prp_core.data.cache.space import CacheSpace, is_in_use
from prp_core.data.file_lock import lock_shared
from prp_core.errors import UserError

NUM_FRAMES_AT_A_TIME = 256


@dataclass(frozen=True)
class TierStatus:
    """The state of one tier, as ``prp cache status`` prints it.

    `capacity_bytes` is that of the last process that opened it. `num_in_use` files are locked at
    this moment, `num_unfinished` are being written. `oldest_load` is when the oldest file was
    loaded, in seconds since the epoch (0: the tier is empty). `counters` are the sums over the
    node's processes.
    """

    name: str
    root: Path
    num_entries: int
    num_bytes: int
    capacity_bytes: int
    num_in_use: int
    num_unfinished: int
    oldest_load: float
    num_verdicts: int
    counters: dict[str, float] = field(default_factory=dict)


def tiers(cache_dir: Path) -> dict[str, Path]:
    """The folders of the tiers under `cache_dir`, by name; raises `UserError` if there is none."""
    found = {
        name: root
        for name, root in {"objects": cache_dir, "frames": cache_dir / "frames"}.items()
        if (root / "locks").is_dir()
    }
    if not found:
        raise UserError(f"{cache_dir} holds no cache; give the folder of cache.dir with --dir")
    return found


def tier_status(name: str, root: Path) -> TierStatus:
    """The state of the tier at `root`; like every opening, it removes what killed writers left."""
    space = _space(root)
    entries = space.entries()
    return TierStatus(
        name=name,
        root=root,
        num_entries=len(entries),
        num_bytes=sum(entry.num_bytes for entry in entries),
        capacity_bytes=space.capacity_bytes,
        num_in_use=sum(is_in_use(entry.path) for entry in entries),
        num_unfinished=len(list(space.unfinished.iterdir())),
        oldest_load=min((entry.loaded_at for entry in entries), default=0.0),
        num_verdicts=len(list((root / "verdicts").glob("*"))),
        counters=node_counters(root),
    )


def verify_tier(name: str, root: Path) -> tuple[int, list[Path]]:
    """Read every file from end to end: (number read, those that were wrong and are removed)."""
    wrong = list[Path]()
    entries = _space(root).entries()
    is_right = CHECKS[name]
    for entry in entries:
        with contextlib.suppress(FileNotFoundError), entry.path.open("rb") as file:
            lock_shared(file)
            if os.fstat(file.fileno()).st_nlink and not is_right(entry.path, file.fileno()):
                remove_file_of(file.fileno(), entry.path)
                wrong.append(entry.path)
    return len(entries), wrong


def clear_tier(root: Path) -> tuple[int, int, list[Path]]:
    """Remove files and verdicts: (files removed, their bytes, files that are in use and stay)."""
    removed, in_use = _space(root).clear()
    for path in (root / "verdicts").glob("*"):
        path.unlink(missing_ok=True)
    return len(removed), sum(entry.num_bytes for entry in removed), [entry.path for entry in in_use]


def _space(root: Path) -> CacheSpace:
    try:
        capacity = int((root / "capacity").read_text())
    except (FileNotFoundError, ValueError):
        capacity = 1
    return CacheSpace(root, capacity, 0.5, lambda **amounts: None)


def _is_right_object(path: Path, file_descriptor: int) -> bool:
    """Whether the bytes have the sha256 that the file's name ends with."""
    with os.fdopen(os.dup(file_descriptor), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == path.name.partition("-")[2]


def _are_right_frames(path: Path, file_descriptor: int) -> bool:
    """Whether header, size and every frame are those of the file's name."""
    key = key_of_file(path)
    if (
        key is None
        or key.identity != path.name
        or os.fstat(file_descriptor).st_size != key.num_bytes
    ):
        return False
    firsts = range(0, key.num_frames, NUM_FRAMES_AT_A_TIME)
    parts = (
        np.arange(first, min(first + NUM_FRAMES_AT_A_TIME, key.num_frames)) for first in firsts
    )
    mapped = MappedFrames(file_descriptor, key)
    return all(mapped.read(part) is not None for part in parts)


CHECKS: dict[str, Callable[[Path, int], bool]] = {
    "objects": _is_right_object,
    "frames": _are_right_frames,
}
