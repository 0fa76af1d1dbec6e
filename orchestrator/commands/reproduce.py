"""``prp reproduce RUN_ID``: train a trial again from its MLflow run and compare the metrics."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.config.run_config import RunConfig
    from orchestrator.tracking.reading import RunFacts
    from orchestrator.trial.reproduce_run import Repeated
    from orchestrator.trial.reproduction import Point


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument(
        "run", metavar="RUN_ID", help="the MLflow run of a trial; `prp report` names the best one's"
    )
    parser.add_argument(
        "--mlflow", metavar="URI", help="MLflow's tracking URI (default: sqlite under ~/.prp)"
    )
    parser.add_argument(
        "--data", metavar="URI", help="where the videos are now (default: where the run found them)"
    )
    parser.add_argument(
        "--manifest",
        metavar="URI",
        help="where the run's manifest is now (default: where the run found it)",
    )
    parser.add_argument(
        "--storage",
        metavar="DIR",
        help="a folder that every node sees, for checkpoints (default: one under ~/.prp "
        "that is removed)",
    )
    parser.add_argument(
        "--address",
        default="",
        help="a Ray cluster (default: the one this job runs on, else a local one)",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="refuse other code than the run's, and accept equal figures only",
    )


def run(arguments: argparse.Namespace) -> int:
    """Train again and compare; 0 where the figures agree, 1 where not."""
    from orchestrator.config.sweep_spec import home_dir
    from orchestrator.tracking.reading import read_run
    from orchestrator.tracking.tracking_uri import default_tracking_uri
    from orchestrator.trial.reproduction import check_can_repeat, code_differences, config_of_params
    from prp_core.errors import UserError

    home = home_dir()
    tracking_uri = arguments.mlflow or default_tracking_uri(home)
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
    config = config_of_params(recorded.params)
    manifest_uri = check_manifest(
        recorded, config, arguments.manifest or recorded.tags["prp.manifest_uri"]
    )
    data_uri = arguments.data or recorded.tags["prp.data_uri"]
    print(
        f"training {arguments.run} ({recorded.state}) again, to epoch {last_epoch} of "
        f"{config.training.num_epochs}",
        file=sys.stderr,
    )
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix="reproduce-", dir=home, ignore_cleanup_errors=True
    ) as folder:
        from orchestrator.trial.reproduce_run import (
            train_again,
        )  # Ray: seconds, after everything that may be refused

        storage = Path(arguments.storage or folder).expanduser().resolve()
        again = train_again(
            config,
            last_epoch,
            data_uri=data_uri,
            manifest_uri=manifest_uri,
            storage=storage,
            address=arguments.address,
        )
    return print_comparison(
        tracking_uri, recorded, config, again, differences, strict=arguments.strict
    )


def check_manifest(recorded: RunFacts, config: RunConfig, uri: str) -> str:
    """`uri`, once the manifest there is known to be the run's. Raises `UserError` with both content
    hashes.
    """
    from orchestrator.storage.manifest_file import read_manifest
    from prp_core.errors import UserError

    found = read_manifest(uri, config.store).content_hash
    wanted = recorded.tags["prp.dataset_hash"]
    if found != wanted:
        raise UserError(
            f"The manifest at {uri} has content {found}; run {recorded.run_id} was "
            f"trained on {wanted}: name its manifest with --manifest"
        )
    return uri


def print_comparison(
    tracking_uri: str,
    recorded: RunFacts,
    config: RunConfig,
    again: Repeated,
    differences: Sequence[str],
    *,
    strict: bool,
) -> int:
    """Print the table, and whether the figures agree; the exit code."""
    from orchestrator.tracking.reading import read_history
    from orchestrator.trial.reproduction import NOT_COMPARED, agrees, compare, reasons_to_differ

    names = [name for name in recorded.metrics if not name.startswith(NOT_COMPARED)]
    histories = {name: read_history(tracking_uri, recorded.run_id, name) for name in names}
    last_step = max(histories["epoch"])
    reasons = reasons_to_differ(recorded, config, differences)
    points = compare(histories, again.values, last_step)
    print_table(points, reasons, strict=strict)
    if again.failure:
        print(f"training again ended with: {again.failure}")
    if agrees(points, reasons=reasons, strict=strict):
        exact = all(point.agreement == "exact" for point in points)
        print(
            f"agrees: {len(points)} metrics, "
            + ("every value equal" if exact else f"not all equal, because: {'; '.join(reasons)}")
        )
        return 0
    wrong = [point.metric for point in points if point.agreement != "exact"]
    print(
        f"does not agree: {len(wrong)} of {len(points)} metrics"
        + (f" ({'; '.join(reasons)})" if reasons else "")
    )
    return 1


def print_table(points: Sequence[Point], reasons: Sequence[str], *, strict: bool) -> None:
    """metric, points, recorded, now, agree."""
    from rich.console import Console
    from rich.table import Table

    from orchestrator.trial.reproduction import table_rows

    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("metric", "points", "recorded", "now", "agree"):
        table.add_column(
            name, justify="left" if name in ("metric", "agree") else "right", no_wrap=True
        )
    for row in table_rows(points, reasons=reasons, strict=strict):
        table.add_row(*row)
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else 160).print(table)
