"""``prp config``: every key of the config, with its value, default, unit and meaning."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.commands.command import run_module
from orchestrator.commands.common_arguments import (
    add_json_argument,
    add_store_arguments,
    given_store,
    print_json,
    storage_uri,
)
from prp_core.catalogue import unknown

if TYPE_CHECKING:
    from orchestrator.config.field_docs import FieldDoc


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The preset, what is put into it, and what it is compared with."""
    parser.add_argument(
        "key",
        metavar="KEY",
        nargs="?",
        help="show this key or table alone, such as clip or clip.length",
    )
    parser.add_argument("--preset", help="a shipped preset, or a TOML file (default: the defaults)")
    parser.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="set a config value, for example clip.length=16",
    )
    parser.add_argument(
        "--diff",
        metavar="SWEEP",
        help="only where a sweep's config differs: from --preset, else from the defaults",
    )
    parser.add_argument("--storage", metavar="URI", help="the storage that has the sweep")
    add_json_argument(parser)
    add_store_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the config, or the difference."""
    from orchestrator.config.field_docs import field_docs
    from orchestrator.config.run_config import flatten, load_config, parse_config, with_settings

    docs = {path: doc for path, doc in field_docs().items() if not doc.is_table}
    if arguments.preset is None:
        config = parse_config(with_settings({}, arguments.settings))
    else:
        config = load_config(arguments.preset, arguments.settings)
    values = flatten(config)
    if arguments.diff is not None:
        return _print_difference(arguments, docs, values)
    chosen = [path for path in docs if is_below(path, arguments.key)]
    if not chosen:
        raise unknown("config key", arguments.key, _tables_and_keys(docs))
    rows = [row_of(path, docs[path], values.get(path)) for path in chosen]
    if arguments.json:
        print_json(rows)
        return 0
    table = ""
    for row in rows:
        head, _, _ = row["key"].rpartition(".")
        if head != table and head:
            print(f"\n[{head}]")
        table = head
        print("\n".join(lines_of(row)))
    return 0


def _print_difference(
    arguments: argparse.Namespace, docs: Mapping[str, FieldDoc], values: Mapping[str, Any]
) -> int:
    """Print where the config of the sweep ``--diff`` is not `values`."""
    from orchestrator.config.run_config import flatten, parse_config
    from orchestrator.journal.stored_sweep import load_sweep

    spec = load_sweep(arguments.diff, storage_uri(arguments), given_store(arguments)).spec
    theirs = flatten(parse_config(spec.config))
    other = "default" if arguments.preset is None else arguments.preset
    rows = [
        {"key": path, other: values.get(path), "sweep": theirs.get(path)}
        for path in docs
        if is_below(path, arguments.key) and values.get(path) != theirs.get(path)
    ]
    if arguments.json:
        print_json(rows)
    elif not rows:
        print(f"{spec.sweep_id} has the same config as {other}")
    else:
        for row in rows:
            print(f"{row['key']} = {shown(row['sweep'])}    # {other}: {shown(row[other])}")
    return 0


def row_of(path: str, doc: FieldDoc, value: Any) -> dict[str, Any]:
    """A key with its value (None: its table is off), default, type, unit and meaning."""
    from orchestrator.config.field_docs import unit_of

    return {
        "key": path,
        "value": value,
        "default": doc.default,
        "type": doc.type,
        "unit": unit_of(path),
        "meaning": doc.sentence,
    }


def lines_of(row: Mapping[str, Any]) -> list[str]:
    """A row as text: the key with its value as in TOML, and what it means."""
    unit = f", {row['unit']}" if row["unit"] else ""
    default = "" if row["value"] == row["default"] else f", default {shown(row['default'])}"
    return [
        f"{row['key']} = {shown(row['value'])}    # {row['type']}{unit}{default}",
        f"    {row['meaning']}",
    ]


def shown(value: Any) -> str:
    """A value as TOML writes it; ``unset`` for None."""
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def is_below(path: str, key: str | None) -> bool:
    """Whether `path` is `key` or a key of that table."""
    return key is None or path == key or path.startswith(f"{key}.")


def _tables_and_keys(docs: Mapping[str, FieldDoc]) -> list[str]:
    heads = {path.rpartition(".")[0] for path in docs} - {""}
    return [*heads, *docs]


if __name__ == "__main__":
    raise SystemExit(run_module("config"))
