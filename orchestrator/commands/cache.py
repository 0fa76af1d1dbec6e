"""``prp cache``: what this node's cache holds, whether it is intact, and emptying it."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.data.frame_tier import default_cache_dir
from prp_core.data.cache.inspection import (
    TierStatus,
    clear_tier,
    tier_status,
    tiers,
    verify_tier,
)

NUM_PATHS_SHOWN = 10


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dir",
        type=Path,
        default=default_cache_dir(),
        help="the cache's folder, as cache.dir has it (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="for scripts: one JSON object")


def _status(arguments: argparse.Namespace) -> int:
    found = [tier_status(name, root) for name, root in tiers(_folder(arguments)).items()]
    rows = {
        status.name: {**dataclasses.asdict(status), "root": str(status.root)} for status in found
    }
    _say(arguments, rows, [line for status in found for line in status_lines(status, time.time())])
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    found = {name: verify_tier(name, root) for name, root in tiers(_folder(arguments)).items()}
    rows = {
        name: {"num_checked": checked, "removed": [str(path) for path in wrong]}
        for name, (checked, wrong) in found.items()
    }
    lines = []
    for name, (checked, wrong) in found.items():
        lines += [
            f"{name:<10}{checked} read from end to end, {len(wrong)} wrong and removed",
            *_paths(wrong),
        ]
    _say(arguments, rows, lines)
    return 1 if any(wrong for _, wrong in found.values()) else 0


def _clear(arguments: argparse.Namespace) -> int:
    found = {name: clear_tier(root) for name, root in tiers(_folder(arguments)).items()}
    rows = {
        name: {
            "num_removed": count,
            "bytes_removed": num_bytes,
            "in_use": [str(path) for path in in_use],
        }
        for name, (count, num_bytes, in_use) in found.items()
    }
    lines = []
    for name, (count, num_bytes, in_use) in found.items():
        stay = f"; {len(in_use)} in use stay:" if in_use else ""
        lines += [f"{name:<10}{count} removed, {gigabytes(num_bytes)}{stay}", *_paths(in_use)]
    _say(arguments, rows, lines)
    return 0


def status_lines(status: TierStatus, now: float) -> list[str]:
    """A tier in a few lines for a person, at the time `now` (seconds since the epoch)."""
    oldest = (
        f", the oldest loaded {(now - status.oldest_load) / 3600:.1f} hours ago"
        if status.num_entries
        else ""
    )
    verdicts = f", {status.num_verdicts} broken videos remembered" if status.num_verdicts else ""
    space = f"{gigabytes(status.num_bytes)} of {gigabytes(status.capacity_bytes)}"
    lines = [
        f"{status.name:<10}{status.num_entries} files, {space}{oldest}",
        f"{'':<10}{status.num_in_use} in use, {status.num_unfinished} being "
        f"written{verdicts}, in {status.root}",
    ]
    counts = status.counters
    asked = counts.get("hits", 0) + counts.get("misses", 0)
    if asked:
        others = ", ".join(
            f"{counts[name]:.0f} {name}"
            for name in ("evicted", "bypassed", "corrupt")
            if counts.get(name)
        )
        lines.append(
            f"{'':<10}{counts.get('hits', 0) / asked:.1%} hits of {asked:.0f} so far"
            + (f"; {others}" if others else "")
        )
    return lines


def gigabytes(num_bytes: float) -> str:
    """``1.25 GB``."""
    return f"{num_bytes / 1e9:.2f} GB"


def _paths(paths: list[Path]) -> list[str]:
    more = (
        [f"  ... and {len(paths) - NUM_PATHS_SHOWN} more"] if len(paths) > NUM_PATHS_SHOWN else []
    )
    return [*(f"  {path}" for path in paths[:NUM_PATHS_SHOWN]), *more]


def _folder(arguments: argparse.Namespace) -> Path:
    return Path(arguments.dir).expanduser().absolute()


def _say(arguments: argparse.Namespace, rows: dict[str, Any], lines: list[str]) -> None:
    sys.stdout.write((json.dumps(rows, indent=1) if arguments.json else "\n".join(lines)) + "\n")


CACHE_COMMANDS: dict[
    str, tuple[str, Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], int]]
] = {
    "status": (
        "What each tier holds, what is in use, and how often it was of use.",
        _add_arguments,
        _status,
    ),
    "verify": (
        "Read every file from end to end and remove what is wrong; exit code 1 if anything was.",
        _add_arguments,
        _verify,
    ),
    "clear": ("Remove all that is not in use.", _add_arguments, _clear),
}
