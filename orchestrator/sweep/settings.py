"""The config of a sweep as its command line gives it: preset, ``--set``, and the options above.

Reading it imports no more than the config's classes, so that a wrong key or value is refused before
Ray and PyTorch are imported.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.config.run_config import RunConfig, load_tree, parse_config, replace_path
from orchestrator.config.store_config import StoreConfig
from orchestrator.config.sweep_config import STUDY_PLACE
from orchestrator.config.sweep_spec import home_dir
from orchestrator.storage.store_profiles import read_store_profile
from orchestrator.tracking.model_uri import names_model
from orchestrator.tracking.tracking_uri import HOST_AND_PORT
from prp_core.errors import UserError

if TYPE_CHECKING:
    from orchestrator.search.space import Space

DEFAULT_PRESET = "demo"
SQLITE = "sqlite:///"

# Option -> the path of the config that it sets.
PATHS = {
    "data": "source.uri",
    "manifest": "source.manifest",
    "splits": "source.splits_dir",
    "split": "source.split",
    "labels": "source.labels_csv",
    "where": "source.where",
    "eval_data": "eval_source.uri",
    "eval_manifest": "eval_source.manifest",
    "eval_splits": "eval_source.splits_dir",
    "eval_split": "eval_source.split",
    "eval_labels": "eval_source.labels_csv",
    "eval_where": "eval_source.where",
    "init_from": "encoder.init_from",
    "trials": "sweep.num_trials",
    "confirm": "confirm.num_candidates",
    "budget_gpu_hours": "budget.gpu_hours",
    "budget_cpu_hours": "budget.cpu_hours",
    "budget_usd": "budget.usd",
    "prices": "budget.prices",
}
OF_EVAL = ("eval_data", "eval_manifest", "eval_splits", "eval_split", "eval_labels", "eval_where")
FILES = (
    *("data", "manifest", "splits", "labels"),
    *("eval_data", "eval_manifest", "eval_splits", "eval_labels"),
    *("prices", "storage", "database", "mlflow"),
)
KEPT_OPTIONS = (
    *("preset", "settings", "data", "manifest", "splits", "split", "labels"),
    *("where", "store", *OF_EVAL),
    *("storage", "database", "mlflow", "warm_start"),
)


def given_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options of `arguments` that say what a sweep is, where they are given; every file and
    folder by its absolute name, because workers and later drivers have other working directories.

    Raises `UserError` for an empty one.
    """
    given = {name: getattr(arguments, name, None) for name in (*KEPT_OPTIONS, *PATHS)}
    options = {name: value for name, value in given.items() if value not in (None, [])}
    if empty := next((name for name, value in options.items() if value == ""), None):
        raise UserError(
            f"--{empty.replace('_', '-')} is empty; leave it out, or give it a value (is a "
            "variable of the shell not set?)"
        )
    for name in FILES:
        if name in options:
            options[name] = absolute(options[name])
    if not names_model(init_from := options.get("init_from", "models:")):
        options["init_from"] = absolute(init_from)
    if "storage" in options:
        options["storage"] = options["storage"].rstrip("/")
    if str(options.get("preset", "")).endswith(".toml"):
        options["preset"] = absolute(options["preset"])
    return options


def kept_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Of `options` those that a sweep keeps as it was started with them."""
    return {name: value for name, value in options.items() if name in KEPT_OPTIONS}


def config_tree(options: Mapping[str, Any], study: str) -> dict[str, Any]:
    """The config that `options` describe, not yet validated: the preset, then ``--set``, then the
    options; `study` is what ``{study}`` in ``sweep.name`` stands for.
    """
    profile = profile_of(options)
    settings = [f"store.{name}={json.dumps(value)}" for name, value in profile.items()]
    tree = load_tree(
        options.get("preset", DEFAULT_PRESET), [*settings, *options.get("settings", ())]
    )
    tree = replaced(tree, {PATHS[name]: options[name] for name in PATHS if name in options})
    name = tree.get("sweep", {}).get("name", STUDY_PLACE) if _has_sweep(tree) else ""
    if isinstance(name, str) and STUDY_PLACE in name:
        tree = replace_path(tree, "sweep.name", name.replace(STUDY_PLACE, study))
    return tree


def new_config(options: Mapping[str, Any], study: str) -> RunConfig:
    """The config of a new sweep. Raises `UserError` for a wrong key or value."""
    return parse_config(config_tree(options, study))


def check_videos_given(config: RunConfig, preset: str) -> None:
    """Raise `UserError` where neither `config` nor an option says which videos: only the preset
    ``demo`` makes its own.
    """
    if config.source.uri or config.source.manifest or preset == DEFAULT_PRESET:
        return
    raise UserError(
        f"The preset {preset!r} comes without videos; say where they are: --data FOLDER or "
        "--data s3://bucket/prefix (only --preset demo makes its own)"
    )


def profile_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """The table of ``stores.toml`` that ``--store`` names; empty where it is not given."""
    name = options.get("store")
    return read_store_profile(name, [Path.cwd(), home_dir()]) if name else {}


def store_of(options: Mapping[str, Any]) -> StoreConfig | None:
    """How S3 is reached, as far as ``--store`` and ``--set store....`` say; None: they do not."""
    settings = [text for text in options.get("settings", ()) if text.strip().startswith("store.")]
    if not settings and not options.get("store") and "preset" not in options:
        return None
    return parse_config({"store": config_tree(options, "study").get("store", {})}).store


def study_name(space: Space) -> str:
    """The name of the file that `space` is written in: ``rate-search`` for
    ``sweeps/rate_search.py``.
    """
    written_in = space if inspect.isroutine(space) else type(space)
    return Path(inspect.getfile(written_in)).stem.replace("_", "-")


def is_set(options: Mapping[str, Any], path: str) -> bool:
    """Whether ``--set`` gives the value at `path`."""
    return path in set_paths(options)


def set_paths(options: Mapping[str, Any]) -> set[str]:
    """The paths of the config that ``--set`` gives."""
    return {text.partition("=")[0].strip() for text in options.get("settings", ())}


def absolute(uri: str) -> str:
    """`uri`, with a relative folder or sqlite file made absolute: workers have other working
    directories.
    """
    if uri.startswith(SQLITE) and not uri.startswith(f"{SQLITE}/"):
        file, mark, rest = uri.removeprefix(SQLITE).partition("?")
        return f"{SQLITE}{Path(file).resolve()}{mark}{rest}" if file else uri
    if ":/" in uri or uri.startswith("sqlite:") or HOST_AND_PORT.fullmatch(uri):
        return uri
    return str(_resolved(uri))


def default_mlflow() -> str | None:
    """MLflow's own variable ``MLFLOW_TRACKING_URI``, the default of ``--mlflow``."""
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    return absolute(uri) if uri else None


def replaced(tree: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `tree` with the values of `given` (by path) in place."""
    changed = dict(tree)
    for path, value in given.items():
        changed = replace_path(changed, path, value)
    return changed


def _resolved(path: str) -> Path:
    return Path(path).expanduser().resolve()


def _has_sweep(tree: Mapping[str, Any]) -> bool:
    """Whether the table ``sweep`` can hold a name; a value in its place is refused later."""
    return isinstance(tree.get("sweep", {}), Mapping)
