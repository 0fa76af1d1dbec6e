"""``prp reproduce RUN_ID``: train a trial again from its MLflow run and compare the metrics."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.commands.command import run_module
from orchestrator.commands.common_arguments import (
    add_address_argument,
    add_json_argument,
    add_store_arguments,
)
from orchestrator.commands.model_arguments import add_mlflow_argument
from orchestrator.config.cache_config import CACHE_DIR_RULE
from prp_core.errors import UserError

if TYPE_CHECKING:
    from orchestrator.config.run_config import RunConfig
    from orchestrator.tracking.reading import RunFacts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The run, and where its videos, its manifest and its metrics are now."""
    parser.add_argument(
        "run", metavar="RUN_ID", help="the MLflow run of a trial; `prp report` names the best one's"
    )
    add_mlflow_argument(parser)
    parser.add_argument(
        "--data", metavar="URI", help="where the videos are now (default: where the run found them)"
    )
    parser.add_argument(
        "--manifest",
        metavar="URI",
        help="where the run's manifest is now (default: where the run found it)",
    )
    parser.add_argument(
        "--eval-data",
        metavar="URI",
        help="the same of another corpus that the run was judged on",
    )
    parser.add_argument("--eval-manifest", metavar="URI", help="the same of its manifest")
    parser.add_argument(
        "--cache-dir",
        metavar="DIR",
        default="",
        help=f"the cache's folder on each node ({CACHE_DIR_RULE})",
    )
    parser.add_argument(
        "--storage",
        metavar="DIR",
        help="a folder that every node sees, for checkpoints (default: one under ~/.prp "
        "that is removed)",
    )
    add_address_argument(parser)
    parser.add_argument(
        "--strict",
        action="store_true",
        help="refuse other code than the run's, and accept equal figures only",
    )
    add_json_argument(parser)
    add_store_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Train again and compare; 0 where the figures agree, 1 where not."""
    from orchestrator.config.sweep_spec import home_dir
    from orchestrator.sweep.settings import default_mlflow
    from orchestrator.tracking.reading import read_run
    from orchestrator.tracking.tracking_uri import default_tracking_uri
    from orchestrator.trial.reproduction import check_can_repeat, code_differences

    home = home_dir()
    tracking_uri = arguments.mlflow or default_mlflow() or default_tracking_uri(home)
    recorded = read_run(tracking_uri, arguments.run)
    last_epoch = check_can_repeat(recorded)
    differences = code_differences(recorded)
    if differences and arguments.strict:
        raise UserError(
            f"This is not the code of run {arguments.run}: {'; '.join(differences)}. "
            "Check it out and run uv sync, or leave --strict out"
        )
    for difference in differences:
        print(f"warning: {difference}", file=sys.stderr)
    places = places_of(arguments, recorded)
    config = config_here(arguments, recorded, list(places.values()))
    check_manifests(recorded, config, places)
    print(
        f"training {arguments.run} ({recorded.state}) again, to epoch {last_epoch} of "
        f"{config.training.num_epochs}",
        file=sys.stderr,
    )
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix="reproduce-", dir=home, ignore_cleanup_errors=True
    ) as folder:
        # Ray: seconds, after everything that may be refused
        from orchestrator.commands.compare_runs import print_comparison
        from orchestrator.trial.reproduce_run import VideoPlaces, train_again

        storage = Path(arguments.storage or folder).expanduser().resolve()
        again = train_again(
            config,
            last_epoch,
            VideoPlaces(**places),
            storage=storage,
            address=arguments.address,
        )
    return print_comparison(
        tracking_uri,
        recorded,
        config,
        again,
        differences,
        strict=arguments.strict,
        as_json=arguments.json,
    )


def config_here(
    arguments: argparse.Namespace, recorded: RunFacts, uris: Sequence[str]
) -> RunConfig:
    """What `recorded` learnt with, on the servers and in the folders of this machine.

    Raises `UserError` where the run read `uris` from another server.
    """
    from orchestrator.commands.common_arguments import store_config
    from orchestrator.config.cache_config import CacheConfig
    from orchestrator.config.run_config import RunConfig
    from orchestrator.trial.reproduction import check_endpoint, config_of_params, on_this_machine

    theirs = config_of_params(recorded.params)
    own = RunConfig(store=store_config(arguments), cache=CacheConfig(dir=arguments.cache_dir))
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    environment = next((os.environ[name] for name in names if os.environ.get(name)), "")
    check_endpoint(recorded, theirs, own, uris, environment)
    return on_this_machine(theirs, own)


def places_of(arguments: argparse.Namespace, recorded: RunFacts) -> dict[str, str]:
    """Where the videos of `recorded` and their manifests are now, by the name of `VideoPlaces`."""
    given = {
        "data_uri": arguments.data,
        "manifest_uri": arguments.manifest,
        "eval_data_uri": arguments.eval_data,
        "eval_manifest_uri": arguments.eval_manifest,
    }
    places = {name: uri or recorded.tags.get(f"prp.{name}", "") for name, uri in given.items()}
    if "prp.eval_data_uri" not in recorded.tags and (
        arguments.eval_data or arguments.eval_manifest
    ):
        raise UserError(
            f"Run {recorded.run_id} was judged on a part of its own corpus: leave "
            "--eval-data and --eval-manifest out"
        )
    return places


def check_manifests(recorded: RunFacts, config: RunConfig, places: Mapping[str, str]) -> None:
    """Raise `UserError` with both content hashes if a manifest of `places` is not the run's."""
    from orchestrator.storage.manifest_file import read_manifest
    from prp_core.data.manifest_filter import filtered

    sources = {
        "manifest_uri": (config.source, "prp.dataset_hash", "trained on", "--manifest"),
        "eval_manifest_uri": (
            config.eval_source,
            "prp.eval_dataset_hash",
            "judged on",
            "--eval-manifest",
        ),
    }
    for name, (source, tag, verb, option) in sources.items():
        uri = places[name]
        if not uri:
            continue
        found = filtered(read_manifest(uri, config.store), source.where, source.WHERE).content_hash
        wanted = recorded.tags[tag]
        if found != wanted:
            raise UserError(
                f"The manifest at {uri} has content {found}; run {recorded.run_id} was "
                f"{verb} {wanted}: name its manifest with {option}"
            )


if __name__ == "__main__":
    raise SystemExit(run_module("reproduce"))
