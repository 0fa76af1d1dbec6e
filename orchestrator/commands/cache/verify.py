"""``prp cache verify``: read every file of the cache from end to end and remove what is wrong."""

from __future__ import annotations

import argparse

from orchestrator.commands.cache.tiers_of_node import (
    add_cache_arguments,
    path_lines,
    print_found,
    tiers_of,
)
from orchestrator.commands.command import run_module

add_arguments = add_cache_arguments


def run(arguments: argparse.Namespace) -> int:
    """Verify each tier; 1 where anything was wrong."""
    from prp_core.data.cache.inspection import verify_tier

    found = {name: verify_tier(name, root) for name, root in tiers_of(arguments).items()}
    rows = {
        name: {"num_checked": num_checked, "removed": [str(path) for path in wrong]}
        for name, (num_checked, wrong) in found.items()
    }
    lines = []
    for name, (num_checked, wrong) in found.items():
        lines.append(
            f"{name:<10}{num_checked} read from end to end, {len(wrong)} wrong and removed"
        )
        lines += path_lines(wrong)
    print_found(arguments, rows, lines)
    return 1 if any(wrong for _, wrong in found.values()) else 0


if __name__ == "__main__":
    raise SystemExit(run_module("cache verify"))
