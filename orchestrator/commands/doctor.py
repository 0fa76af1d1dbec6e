"""``prp doctor``: examine cluster, storage, videos and MLflow with a worker's eyes, in a minute.

It takes the options of a study and spends nothing. Exit code 0: nothing keeps a sweep from running,
1: something does.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from orchestrator.commands.command import run_module
from orchestrator.commands.common_arguments import add_json_argument, print_json
from orchestrator.sweep.arguments import add_plan_arguments

if TYPE_CHECKING:
    from orchestrator.sweep.finding import Finding
    from orchestrator.sweep.probes import Examination

MARKS = {"ok": "ok  ", "warning": "WARN", "failure": "FAIL"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A study's own options, as it would be started."""
    add_plan_arguments(parser)
    add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Examine, and print what was found; 1 where a trial would fail."""
    from orchestrator.ray_cluster.cluster_address import check_address
    from orchestrator.sweep.settings import given_options

    check_address(arguments.address or os.environ.get("RAY_ADDRESS", ""))
    findings = find_all(given_options(arguments), arguments.address)
    failures = [finding for finding in findings if finding.level == "failure"]
    if arguments.json:
        print_json([dataclasses.asdict(finding) for finding in findings])
    else:
        for line in lines_of(findings):
            print(line)
        print(
            f"{len(failures)} of {len(findings)} findings keep a sweep from running"
            if failures
            else f"{len(findings)} findings: nothing keeps a sweep from running"
        )
    return 1 if failures else 0


def find_all(options: dict[str, object], address: str) -> list[Finding]:
    """What the driver finds, what is found of the cluster at `address`, and on its nodes."""
    from orchestrator.config.run_config import to_tree
    from orchestrator.config.sweep_spec import home_dir
    from orchestrator.ray_cluster.connect import ray_cluster
    from orchestrator.storage.open_store import open_store
    from orchestrator.sweep.examination import node_findings, placement_findings
    from orchestrator.sweep.group_probe import group_findings
    from orchestrator.sweep.probes import (
        Examination,
        examine,
        token_finding,
        versions_here,
        write_token,
    )
    from orchestrator.sweep.settings import default_mlflow, new_config
    from orchestrator.sweep.writable import check_home, check_storage
    from orchestrator.tracking.tracking_uri import default_tracking_uri

    check_home()
    config = new_config(options, "doctor")
    storage_uri = str(options.get("storage") or home_dir())
    check_storage(storage_uri)
    examination = Examination(
        config=to_tree(config),
        storage_uri=storage_uri,
        tracking_uri=str(
            options.get("mlflow") or default_mlflow() or default_tracking_uri(home_dir())
        ),
        database_url=str(options.get("database", "")),
        versions=versions_here(),
    )
    # a driver needs no GPU of its own
    of_gpus = ("gpu", "gpu share")
    findings = [finding for finding in examine(examination) if finding.what not in of_gpus]
    store = None
    # the driver's own finding says why it cannot be written
    if not any(one.what == "storage" and one.level == "failure" for one in findings):
        store = open_store(storage_uri, config.store)
        examination = dataclasses.replace(examination, storage_token=write_token(store))
    try:
        with ray_cluster(address):
            if address or "RAY_ADDRESS" in os.environ:
                findings.append(token_finding())
            placed = placement_findings(config)
            findings += placed
            _say_progress(examination)
            findings += node_findings(examination, config)
            if not any(one.what == "placement" and one.level == "failure" for one in placed):
                findings += group_findings(config)
    finally:
        if store is not None:
            with suppress(Exception):  # an object of 18 bytes
                store.delete(examination.storage_token)
    return findings


def lines_of(findings: list[Finding]) -> list[str]:
    """The findings by machine; below each that is not in order what to do."""
    lines = []
    for where in dict.fromkeys(finding.where for finding in findings):
        lines.append(where)
        for finding in findings:
            if finding.where == where:
                lines.append(f"  {MARKS[finding.level]} {finding.what}: {finding.text}")
                if finding.advice:
                    lines.append(f"         {finding.advice}")
    return lines


def _say_progress(examination: Examination) -> None:
    print(f"asking the nodes (storage {examination.storage_uri})", file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(run_module("doctor"))
