"""The config of a sweep as its command line gives it: preset, ``--set``, and the options above.

Reading it imports no more than the config's classes, so that a wrong key or value is refused before
Ray and PyTorch are imported.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.config.run_config import RunConfig, load_tree, parse_config, replace_path
from orchestrator.config.sweep_spec import SweepSpec, home_dir, load_spec
from orchestrator.storage.store_profiles import read_store_profile
from prp_core.errors import UserError


def check_settings(arguments: argparse.Namespace) -> None:
    """Raise `UserError` where `arguments` describe no config, or resume a sweep that is unknown."""
    if arguments.resume:
        resumed_config(load_spec(arguments.resume, home_dir()), arguments)
    else:
        new_config(arguments)


def new_config(arguments: argparse.Namespace) -> RunConfig:
    """The config of a new sweep: the preset, then ``--set``, then the options."""
    profile = (
        read_store_profile(arguments.store, [Path.cwd(), home_dir()]) if arguments.store else {}
    )
    settings = [f"store.{name}={json.dumps(value)}" for name, value in profile.items()]
    tree = load_tree(arguments.preset, [*settings, *arguments.settings])
    given = {
        "source.uri": arguments.data,
        "source.manifest": arguments.manifest,
        "source.splits_dir": arguments.splits,
        "source.split": arguments.split,
        "source.labels_csv": arguments.labels,
    }
    return parse_config(_replaced(tree, given | _changeable(arguments)))


def resumed_config(spec: SweepSpec, arguments: argparse.Namespace) -> RunConfig:
    """The config of `spec` with what a resume may change. Raises `UserError` for ``--set``."""
    if arguments.settings:
        raise UserError(
            f"--set {arguments.settings[0]}: a resumed sweep keeps its config (only --trials, "
            "--confirm, --prices and the budget can be changed); start a new sweep instead"
        )
    return parse_config(_replaced(spec.config, _changeable(arguments)))


def is_set(arguments: argparse.Namespace, path: str) -> bool:
    """Whether ``--set`` gives the value at `path`."""
    return any(setting.partition("=")[0].strip() == path for setting in arguments.settings)


def absolute(uri: str) -> str:
    """`uri`, with a relative folder made absolute: workers have other working directories."""
    return uri if "://" in uri else str(Path(uri).expanduser().resolve())


def _changeable(arguments: argparse.Namespace) -> dict[str, Any]:
    """What a new sweep and a resumed one both take from the command line, by path."""
    return {
        "sweep.num_trials": arguments.trials,
        "confirm.num_candidates": arguments.confirm,
        "budget.gpu_hours": arguments.budget_gpu_hours,
        "budget.cpu_hours": arguments.budget_cpu_hours,
        "budget.usd": arguments.budget_usd,
        "budget.prices": absolute(arguments.prices) if arguments.prices else None,
    }


def _replaced(tree: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `tree` with the values of `given` (by path) in place, None left out."""
    for path, value in given.items():
        if value is not None:
            tree = replace_path(tree, path, value)
    return tree
