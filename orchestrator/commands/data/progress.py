"""Progress of indexing and preparing: one line in place on a terminal, few lines in a log."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.data.index import IndexProgress
    from orchestrator.data.prepare import PrepareProgress


def print_index_progress(progress: IndexProgress) -> None:
    """Say how many videos are verified; in a log, every 1000th time."""
    line = (
        f"{progress.num_done} of {progress.num_videos} videos, {progress.num_reused} known "
        f"before, {progress.num_quarantined} quarantined"
    )
    _print(line, progress.num_done, progress.num_videos, every=1000)


def print_prepare_progress(progress: PrepareProgress) -> None:
    """Say how many shards are written; in a log, every 100th time."""
    line = (
        f"{progress.num_done} of {progress.num_shards} shards, {progress.num_reused} "
        f"finished before, {progress.num_quarantined} videos quarantined"
    )
    _print(line, progress.num_done, progress.num_shards, every=100)


def _print(line: str, num_done: int, num_all: int, *, every: int) -> None:
    is_last = num_done >= num_all
    if sys.stderr.isatty():
        print(f"\r\033[K{line}", end="\n" if is_last else "", file=sys.stderr, flush=True)
    elif is_last or num_done % every == 0:
        print(line, file=sys.stderr, flush=True)
