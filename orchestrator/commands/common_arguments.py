"""Arguments that several commands take: how a store is reached, and where labels come from."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.config.source_config import SPLITS_HELP
from orchestrator.config.store_config import ADDRESSINGS, StoreConfig
from orchestrator.config.sweep_spec import BeingDeleted, SweepSpec, home_dir


def add_store_arguments(parser: argparse.ArgumentParser) -> None:
    """How S3 is reached; `store_config` reads it."""
    group = parser.add_argument_group(
        "S3", "credentials come from the AWS environment, config files or the machine's role"
    )
    group.add_argument(
        "--store",
        metavar="NAME",
        help="a table of stores.toml, in this folder or in ~/.prp; the options below override it",
    )
    group.add_argument("--endpoint-url", help="an S3 server other than Amazon's")
    group.add_argument("--region")
    group.add_argument("--profile", help="a profile of ~/.aws")
    group.add_argument(
        "--addressing",
        choices=ADDRESSINGS,
        help="where the bucket's name goes: host/bucket or bucket.host",
    )
    group.add_argument(
        "--requester-pays",
        action="store_true",
        default=None,
        help="pay for reading a bucket whose owner does not",
    )
    group.add_argument(
        "--allow-other-region",
        action="store_true",
        default=None,
        help="read a bucket of another region, which costs money",
    )


def add_sweep_argument(parser: argparse.ArgumentParser, *, is_optional: bool = False) -> None:
    """The sweep that a command is about, and its storage; `named_sweep` reads them."""
    parser.add_argument(
        "sweep",
        metavar="SWEEP",
        nargs="?" if is_optional else None,
        help="a sweep's id, or the full URI of its folder (s3://bucket/prefix/sweeps/ID)"
        + (" (default: list the sweeps)" if is_optional else "; `prp status` lists them"),
    )
    parser.add_argument(
        "--storage",
        metavar="URI",
        help="the storage that holds it (default: every storage that this machine's sweeps use)",
    )


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    """Whether a script reads the answer; `print_json` prints it."""
    parser.add_argument("--json", action="store_true", help="print the answer as JSON, for scripts")


def print_json(answer: object) -> None:
    """Print `answer` as JSON; what JSON does not have (nan, a path, an enum) as null or text."""
    print(json.dumps(_plain(answer), indent=1))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int)):
        return value
    return str(value)


def named_sweep(arguments: argparse.Namespace, *, is_to_go: bool = False) -> SweepSpec:
    """The spec of the sweep that `add_sweep_argument` took, with S3 as this command reaches it;
    with `is_to_go` also of one that is deleted by half.

    Raises `UserError` where there is none.
    """
    from orchestrator.journal.stored_sweep import load_sweep

    store = given_store(arguments)
    try:
        spec = load_sweep(arguments.sweep, storage_uri(arguments), store).spec
    except BeingDeleted as error:
        if not is_to_go:
            raise
        spec = error.spec
    if store is None:
        return spec
    return spec.with_config({**spec.config, "store": dataclasses.asdict(store)})


def storage_uri(arguments: argparse.Namespace) -> str | None:
    """``--storage`` by its absolute name; None where it is not given."""
    uri = arguments.storage
    return uri if uri is None or "://" in uri else str(Path(uri).expanduser().resolve())


def given_store(arguments: argparse.Namespace) -> StoreConfig | None:
    """As `store_config`; None where none of its options is given."""
    names = [field.name for field in dataclasses.fields(StoreConfig)]
    is_given = any(getattr(arguments, name, None) is not None for name in ["store", *names])
    return store_config(arguments) if is_given else None


def store_config(arguments: argparse.Namespace) -> StoreConfig:
    """What `add_store_arguments` took. Raises `UserError` for a wrong value."""
    from orchestrator.config.run_config import parse_config
    from orchestrator.storage.store_profiles import read_store_profile

    values = (
        read_store_profile(arguments.store, [Path.cwd(), home_dir()]) if arguments.store else {}
    )
    given = {
        field.name: getattr(arguments, field.name, None)
        for field in dataclasses.fields(StoreConfig)
    }
    return parse_config(
        {"store": values | {name: value for name, value in given.items() if value is not None}}
    ).store


def add_address_argument(
    parser: argparse.ArgumentParser, *, otherwise: str = "a local one"
) -> None:
    """Which cluster; `otherwise` is what runs the command where there is none."""
    parser.add_argument(
        "--address",
        default="",
        help=f"a Ray cluster (default: the one this job runs on, else {otherwise})",
    )


def add_label_arguments(parser: argparse.ArgumentParser) -> None:
    """Labels, groups and splits that do not come from the folders."""
    parser.add_argument(
        "--splits",
        metavar="DIR",
        help=SPLITS_HELP,
    )
    parser.add_argument(
        "--split",
        type=int,
        default=1,
        metavar="N",
        help="which of the splits (default: %(default)s)",
    )
    parser.add_argument(
        "--labels",
        metavar="CSV",
        help="a table with the columns key,label,group,split (label, group, split may be missing), "
        "or a list with a video's path and its label in each line",
    )
