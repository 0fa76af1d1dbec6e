"""``prp cache status``: what each tier of the cache holds and how often it was hit."""

from __future__ import annotations

import argparse
import dataclasses
import time
from typing import TYPE_CHECKING

from orchestrator.commands.cache.tiers_of_node import (
    add_cache_arguments,
    gigabytes,
    print_found,
    tiers_of,
)
from orchestrator.commands.command import run_module

if TYPE_CHECKING:
    from prp_core.data.cache.inspection import TierStatus

add_arguments = add_cache_arguments


def run(arguments: argparse.Namespace) -> int:
    """Print the status of each tier."""
    from prp_core.data.cache.inspection import tier_status

    found = [tier_status(name, root) for name, root in tiers_of(arguments).items()]
    rows = {
        status.name: {**dataclasses.asdict(status), "root": str(status.root)} for status in found
    }
    now = time.time()
    print_found(arguments, rows, [line for status in found for line in status_lines(status, now)])
    return 0


def status_lines(status: TierStatus, now: float) -> list[str]:
    """A tier in two or three lines, at the time `now` (seconds since the epoch)."""
    space = f"{gigabytes(status.num_bytes)} of {gigabytes(status.capacity_bytes)}"
    age = (
        f", the oldest loaded {(now - status.oldest_load) / 3600:.1f} hours ago"
        if status.num_entries
        else ""
    )
    broken = f", {status.num_verdicts} broken videos remembered" if status.num_verdicts else ""
    lines = [
        f"{status.name:<10}{status.num_entries} files, {space}{age}",
        f"{'':<10}{status.num_in_use} in use, {status.num_unfinished} being written{broken}, "
        f"in {status.root}",
    ]
    counts = status.counters
    num_reads = counts.get("hits", 0) + counts.get("misses", 0)
    if num_reads:
        others = ", ".join(
            f"{counts[name]:.0f} {name}"
            for name in ("evicted", "bypassed", "corrupt")
            if counts.get(name)
        )
        hits = f"{counts.get('hits', 0) / num_reads:.1%} hits of {num_reads:.0f} so far"
        lines.append(f"{'':<10}{hits}" + (f"; {others}" if others else ""))
    return lines


if __name__ == "__main__":
    raise SystemExit(run_module("cache status"))
