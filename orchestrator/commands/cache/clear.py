"""``prp cache clear``: remove every file of the cache that no process uses."""

from __future__ import annotations

import argparse

from orchestrator.commands.cache.tiers_of_node import (
    add_cache_arguments,
    gigabytes,
    path_lines,
    print_found,
    tiers_of,
)
from orchestrator.commands.command import run_module

add_arguments = add_cache_arguments


def run(arguments: argparse.Namespace) -> int:
    """Clear each tier; files in use stay and are listed."""
    from prp_core.data.cache.inspection import clear_tier

    found = {name: clear_tier(root) for name, root in tiers_of(arguments).items()}
    rows = {
        name: {
            "num_removed": num_removed,
            "bytes_removed": num_bytes,
            "in_use": [str(path) for path in in_use],
        }
        for name, (num_removed, num_bytes, in_use) in found.items()
    }
    lines = []
    for name, (num_removed, num_bytes, in_use) in found.items():
        kept = f"; {len(in_use)} in use stay:" if in_use else ""
        lines.append(f"{name:<10}{num_removed} removed, {gigabytes(num_bytes)}{kept}")
        lines += path_lines(in_use)
    print_found(arguments, rows, lines)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_module("cache clear"))
