"""The config of a run: read from TOML and ``--set path=value``, validated once, immutable.

``TOML -> dict -> RunConfig``; a trial's sampled values replace dotted paths and the whole is
validated again; a plain dict crosses to the workers and becomes the same tree there. The tree,
flattened, is the run's MLflow parameters, and its digest names the run. This is the only file that
knows pydantic.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from orchestrator.config.budget_config import BudgetConfig
from orchestrator.config.cache_config import CacheConfig
from orchestrator.config.confirm_config import ConfirmConfig
from orchestrator.config.resources_config import ResourcesConfig
from orchestrator.config.shipped import presets
from orchestrator.config.showcase_config import ShowcaseConfig
from orchestrator.config.source_config import EvalSourceConfig, SourceConfig
from orchestrator.config.store_config import StoreConfig
from orchestrator.config.sweep_config import SweepConfig
from prp_core.catalogue import look_up, unknown
from prp_core.checks import check
from prp_core.data.readers import READERS
from prp_core.documents import parse_toml
from prp_core.encoders import ENCODERS
from prp_core.errors import UserError
from prp_core.training.pretrain_config import PretrainConfig


@dataclass(frozen=True, kw_only=True)
class RunConfig(PretrainConfig):
    """The config tree of a run; the tables of a preset are its fields."""

    source: SourceConfig = field(default_factory=SourceConfig)
    """The videos, their labels and parts."""
    eval_source: EvalSourceConfig = field(default_factory=EvalSourceConfig)
    """Another corpus that encoders are judged on; empty: those of ``source``."""
    store: StoreConfig = field(default_factory=StoreConfig)
    """How S3 is reached."""
    cache: CacheConfig = field(default_factory=CacheConfig)
    """The node's cache of objects and decoded frames."""
    resources: ResourcesConfig = field(default_factory=ResourcesConfig)
    """What one trial asks of the cluster, and what that costs."""
    sweep: SweepConfig = field(default_factory=SweepConfig)
    """How the search runs: trials, sampler, pruner, objective."""
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    """The limits of the sweep's cost."""
    confirm: ConfirmConfig = field(default_factory=ConfirmConfig)
    """The trials that are trained again with new seeds before a winner is named."""
    showcase: ShowcaseConfig = field(default_factory=ShowcaseConfig)
    """The pages of retrieved videos and reconstructions of the best trials."""

    def __post_init__(self) -> None:
        super().__post_init__()
        look_up("encoder", self.encoder.name, ENCODERS)
        look_up("reader", self.loader.reader, READERS)
        check(
            not self.sweep.is_label_free or self.evaluation.label_free is not None,
            "sweep.objective",
            self.sweep.objective,
            "is not measured; switch it on with a table [evaluation.label_free], or "
            "--set evaluation.label_free.ks=1-5",
        )
        workers = self.resources.num_workers
        batch = self.training.batch_size
        check(
            batch % workers == 0,
            "training.batch_size",
            batch,
            f"must be divisible by resources.num_workers = {workers}",
        )


def parse_config(tree: Mapping[str, Any]) -> RunConfig:
    """The config that the nested dict `tree` describes.

    Raises `UserError`, one line, that names the path of the first wrong key (with the nearest known
    one) or value.
    """
    _refuse_unknown_keys(tree, RunConfig, "")
    for path, value in _leaves(tree, ""):
        if isinstance(value, float):
            check(math.isfinite(value), path, value, "must be a finite number")
    try:
        return _adapter().validate_json(json.dumps(tree, default=str), strict=True)
    except ValidationError as error:
        raise _as_user_error(error) from None


def load_config(preset: str, settings: Iterable[str] = ()) -> RunConfig:
    """The config of a preset with each ``path=value`` of `settings` put in.

    `preset` is a name under ``sweeps/presets`` or a path to a TOML file. Raises `UserError`.
    """
    return parse_config(load_tree(preset, settings))


def load_tree(preset: str, settings: Iterable[str] = ()) -> dict[str, Any]:
    """As `load_config`, before validation."""
    path = Path(preset)
    if path.suffix != ".toml":
        path = look_up("preset", preset, presets())
    try:
        tree = parse_toml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"Preset file {str(path)!r} does not exist; name a file or one of: {_preset_names()}"
        ) from None
    except OSError as error:
        raise UserError(
            f"Preset file {str(path)!r} cannot be read: {error.strerror}; name a file or one of: "
            f"{_preset_names()}"
        ) from None
    except ValueError as error:
        raise UserError(f"Preset file {str(path)!r} is not TOML: {error}") from None
    return with_settings(tree, settings)


def with_settings(tree: Mapping[str, Any], settings: Iterable[str]) -> dict[str, Any]:
    """A copy of `tree` with each ``path=value`` of `settings` put in, not validated."""
    tree = dict(tree)
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise UserError(
                f"--set {setting!r}: write path=value, for example --set clip.length=16"
            )
        tree = replace_path(tree, name.strip(), _value_of(text.strip()))
    return tree


def replace_path(tree: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of `tree` with the value at the dotted `path` replaced.

    Whether the config has such a path is checked by `parse_config`.
    """
    head, _, rest = path.partition(".")
    below = tree.get(head, {}) if rest else None
    if rest and not isinstance(below, Mapping):
        raise UserError(f"{path}: {head!r} is a value, not a table")
    new = replace_path(below, rest, value) if rest else value  # type: ignore[arg-type]
    return {**tree, head: new}


def with_values(config: RunConfig, values: Mapping[str, Any]) -> RunConfig:
    """`config` with the value at each dotted path of `values` replaced, validated as a whole."""
    tree = to_tree(config)
    for path, value in values.items():
        tree = replace_path(tree, path, value)
    return parse_config(tree)


def to_tree(config: RunConfig) -> dict[str, Any]:
    """The config as nested plain dicts: what crosses to a worker."""
    return dataclasses.asdict(config)


def flatten(config: RunConfig) -> dict[str, Any]:
    """Dotted path -> value for every leaf: the parameters that MLflow shows."""
    return dict(_leaves(to_tree(config), ""))


def digest(config: RunConfig) -> str:
    """12 hex digits that name this config."""
    return hashlib.sha256(json.dumps(to_tree(config), sort_keys=True).encode()).hexdigest()[:12]


@cache
def _adapter() -> TypeAdapter[RunConfig]:
    # Used strictly, over JSON: the text "8" is not the number 8 and true is not 1, but a whole
    # number serves where a float is asked.
    return TypeAdapter(RunConfig)


def _leaves(tree: Mapping[str, Any], prefix: str) -> Iterable[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _value_of(text: str) -> Any:
    """`text` as a TOML value (8, 0.1, true, "quoted"), or as it is: rate sets need no quotes."""
    try:
        return parse_toml(f"value = {text}")["value"]
    except ValueError:
        return text


def _refuse_unknown_keys(tree: Mapping[str, Any], config_class: type, prefix: str) -> None:
    tables = _tables_by_field(config_class)
    for name, value in tree.items():
        if name not in tables:
            raise unknown("config key", f"{prefix}{name}", [f"{prefix}{entry}" for entry in tables])
        table = tables[name]
        if table is not None and isinstance(value, Mapping):
            _refuse_unknown_keys(value, table, f"{prefix}{name}.")


@cache
def _tables_by_field(config_class: type) -> Mapping[str, type | None]:
    """The class of the table that each field of a config class holds; None for a plain value."""
    hints = typing.get_type_hints(config_class)  # slow: it evaluates every annotation
    return {entry.name: table_of(hints[entry.name]) for entry in dataclasses.fields(config_class)}


def table_of(hint: Any) -> type | None:
    """The dataclass that a field holds (also behind ``| None``), or None for a plain value."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return next(
        (
            option
            for option in options
            if isinstance(option, type) and dataclasses.is_dataclass(option)
        ),
        None,
    )


def _as_user_error(error: ValidationError) -> UserError:
    first = error.errors()[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, Exception):
        return UserError(str(cause))
    path = ".".join(
        str(part) for part in first["loc"] if isinstance(part, str) and not part[:1].isupper()
    )
    return UserError(f"{path or 'config'} = {first['input']!r}: {first['msg'].lower()}")


def _preset_names() -> str:
    return ", ".join(presets())
