"""What a sweep that goes on keeps: its options and space, compared with what is given now.

An option that is given again is compared with what the sweep was started with. What decides how
many trials there are, what is confirmed and shown, what it may cost and how S3 is reached may
change; anything else that differs is refused, with both values. What is not given is kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.config.run_config import RunConfig, flatten, parse_config, with_settings
from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.sweep.label_free_config import DECIDED_BY_LABELS
from orchestrator.sweep.settings import (
    PATHS,
    config_tree,
    default_mlflow,
    profile_of,
    replaced,
    set_paths,
)
from prp_core.errors import UserError

MAY_CHANGE = ("sweep.num_trials", "confirm.", "budget.", "showcase.", "store.")
OF_JOURNAL = "the sweep's journal"
NOT_GIVEN = "none"


@dataclass(frozen=True)
class Difference:
    """A value that is another one now, as a person reads it."""

    what: str
    kept: Any
    given: Any

    def __str__(self) -> str:
        return f"{self.what}: {self.kept} -> {self.given}"


@dataclass(frozen=True)
class Kept:
    """The config of a sweep that goes on, and what of it was changed."""

    config: RunConfig
    changes: tuple[Difference, ...] = ()


def keep_config(spec: SweepSpec, options: Mapping[str, Any], study: str) -> Kept:
    """The config of `spec` with what `options` may change.

    `study` is the name of the file of the space. Raises `UserError` that names each option that
    differs from what the sweep was started with.
    """
    kept = flatten(parse_config(spec.config))
    config = parse_config(_tree_now(spec, options, study))
    now = flatten(config)
    refused: list[Difference] = []
    changes: list[Difference] = []
    for path, value in now.items():
        if value != kept.get(path):
            difference = Difference(_name_of(path), kept.get(path), value)
            (changes if path.startswith(MAY_CHANGE) else refused).append(difference)
    refused += _other_options(spec, options, study)
    if refused:
        raise UserError(
            f"Sweep {spec.sweep_id} keeps what it was started with, and this differs: "
            f"{'; '.join(map(str, refused))}. Leave that out, or start a new sweep"
        )
    return Kept(config, tuple(changes))


def check_same_space(spec: SweepSpec, space: Mapping[str, str]) -> None:
    """Raise `UserError` that names each dimension of `space` that is not as in `spec`."""
    different = [
        str(Difference(name, _brief(spec.space.get(name)), _brief(space.get(name))))
        for name in dict.fromkeys([*spec.space, *space])
        if spec.space.get(name) != space.get(name)
    ]
    if different:
        raise UserError(
            f"Sweep {spec.sweep_id} has another search space than this study: "
            f"{'; '.join(different)}. Go on with the study that it was started with, or start a "
            "new sweep"
        )


def kept_lines(spec: SweepSpec, kept: Kept) -> list[str]:
    """What a resumed sweep keeps and changes, for the person at the terminal."""
    options = spec.options
    lines = [
        f"it keeps preset {options.get('preset', 'demo')}"
        f"{''.join(f', --set {text}' for text in options.get('settings', ()))}, "
        f"videos {spec.data_uri}, storage {spec.storage_uri}, "
        f"study in {spec.database_url or OF_JOURNAL}, "
        f"MLflow {spec.tracking_uri}"
    ]
    if kept.changes:
        lines.append(f"it changes {'; '.join(map(str, kept.changes))}")
    other = default_mlflow()
    if other and other != spec.tracking_uri:
        lines.append(f"MLFLOW_TRACKING_URI is {other}; the sweep's runs stay where they are")
    return lines


def _tree_now(spec: SweepSpec, options: Mapping[str, Any], study: str) -> dict[str, Any]:
    """The config that the sweep would have with `options`; what they do not say is kept."""
    if "preset" in options:
        settings = [*spec.options.get("settings", ()), *options.get("settings", ())]
        started = {name: value for name, value in spec.options.items() if name != "store"}
        tree = config_tree({**started, **options, "settings": settings}, study)
        given = set_paths(options) | {PATHS[name] for name in options if name in PATHS}
        free: tuple[str, ...] = (*MAY_CHANGE, "sweep.sampler")  # the sampler may be the study's own
        if parse_config(spec.config).sweep.is_label_free:  # as the plan has set it
            free += DECIDED_BY_LABELS
        stays = {
            path: value
            for path, value in flatten(parse_config(spec.config)).items()
            if path.startswith(free) and path not in given
        }
        tree = replaced(tree, stays)
    else:
        tree = with_settings(spec.config, options.get("settings", ()))
        tree = replaced(tree, {PATHS[name]: options[name] for name in PATHS if name in options})
    return replaced(tree, {f"store.{name}": value for name, value in profile_of(options).items()})


def _other_options(spec: SweepSpec, options: Mapping[str, Any], study: str) -> list[Difference]:
    """How `options` that are not in the config, and the study, differ from those of `spec`."""
    given = {
        "--storage": (spec.storage_uri, options.get("storage")),
        "--database": (spec.database_url or OF_JOURNAL, options.get("database")),
        "--mlflow": (spec.tracking_uri, options.get("mlflow")),
        "--warm-start": (spec.options.get("warm_start", NOT_GIVEN), options.get("warm_start")),
        "the study": (spec.study, study if spec.study else None),
    }
    return [
        Difference(name, before, now)
        for name, (before, now) in given.items()
        if now is not None and now != before
    ]


def _name_of(path: str) -> str:
    """The path of the config, with the option that sets it."""
    option = next((name for name, other in PATHS.items() if other == path), None)
    return path if option is None else f"{path} (--{option.replace('_', '-')})"


def _brief(distribution: str | None) -> str:
    """A distribution as a person reads it."""
    if distribution is None:
        return "not there"
    attributes = json.loads(distribution)["attributes"]
    if "choices" in attributes:
        return f"one of {', '.join(map(str, attributes['choices']))}"
    log = ", logarithmic" if attributes.get("log") else ""
    step = f", step {attributes['step']}" if attributes.get("step") else ""
    return f"{attributes['low']} to {attributes['high']}{log}{step}"
