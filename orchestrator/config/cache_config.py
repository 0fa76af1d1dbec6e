"""The node's cache of objects and decoded frames: where it lies and how large it may become."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from prp_core.checks import check

CACHE_DIR_RULE = "default: what PRP_CACHE_DIR names there, else ~/.cache/prp"
DEFAULT_CAPACITY_BYTES = 200 << 30
AUTOMATIC = -1


@dataclass(frozen=True, kw_only=True)
class CacheConfig:
    """The cache that all trials of a node share."""

    dir: str = ""
    """The cache's folder on each node; empty: what the node's ``PRP_CACHE_DIR`` names, else
    ``~/.cache/prp``.
    """
    capacity_bytes: int = DEFAULT_CAPACITY_BYTES
    """How many bytes of objects from a bucket are kept; the least recently used go first."""
    frames_capacity_bytes: int = AUTOMATIC
    """How many bytes of decoded frames are kept; 0: none, -1: a quarter of the free disk."""

    def __post_init__(self) -> None:
        rule = (
            "must be a number of bytes, 0 (keep no decoded frames) or -1 (a quarter of the "
            "free disk)"
        )
        check(
            self.frames_capacity_bytes >= AUTOMATIC,
            "cache.frames_capacity_bytes",
            self.frames_capacity_bytes,
            rule,
        )
        check(
            self.capacity_bytes > 0, "cache.capacity_bytes", self.capacity_bytes, "must be positive"
        )

    @property
    def folder(self) -> Path:
        """The cache's folder on this node; decoded frames lie below it, in ``frames``."""
        return Path(self.dir or default_cache_dir()).expanduser()


def default_cache_dir() -> str:
    """The folder of the cache on this node where none is configured."""
    return os.environ.get("PRP_CACHE_DIR") or "~/.cache/prp"
