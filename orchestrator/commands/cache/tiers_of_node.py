"""The tiers of this node's cache by a command's arguments, and printing what was found in them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.config.cache_config import CACHE_DIR_RULE, default_cache_dir

NUM_PATHS_SHOWN = 10


def add_cache_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the cache is, and whether a script reads the answer."""
    parser.add_argument(
        "--dir",
        help=f"the cache's folder, as cache.dir has it ({CACHE_DIR_RULE})",
    )
    parser.add_argument("--json", action="store_true", help="for scripts: one JSON object")


def tiers_of(arguments: argparse.Namespace) -> dict[str, Path]:
    """The folder of each tier by name. Raises `UserError` where ``--dir`` holds no cache."""
    from prp_core.data.cache.inspection import tiers

    return tiers(Path(arguments.dir or default_cache_dir()).expanduser().absolute())


def print_found(
    arguments: argparse.Namespace, rows: Mapping[str, Any], lines: Sequence[str]
) -> None:
    """Print `rows` (tier -> what was found) as JSON where that was asked for, else `lines`."""
    sys.stdout.write((json.dumps(rows, indent=1) if arguments.json else "\n".join(lines)) + "\n")


def path_lines(paths: Sequence[Path]) -> list[str]:
    """The first of `paths`, a line each, and how many more there are."""
    num_more = len(paths) - NUM_PATHS_SHOWN
    more = [f"  ... and {num_more} more"] if num_more > 0 else []
    return [*(f"  {path}" for path in paths[:NUM_PATHS_SHOWN]), *more]


def gigabytes(num_bytes: float) -> str:
    """``1.25 GB``."""
    return f"{num_bytes / 1e9:.2f} GB"
