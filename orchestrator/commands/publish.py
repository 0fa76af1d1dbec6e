"""``prp publish``: send MLflow what waits for it of a sweep whose driver has gone."""

from __future__ import annotations

import argparse

from orchestrator.commands.command import run_module
from orchestrator.commands.common_arguments import (
    add_json_argument,
    add_store_arguments,
    add_sweep_argument,
    named_sweep,
    print_json,
)

TIMEOUT_SECONDS = 30.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The sweep, and where it lies."""
    add_sweep_argument(parser)
    add_json_argument(parser)
    add_store_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Send and say what was sent; 1 where something is left."""
    spec = named_sweep(arguments)

    from orchestrator.coordinator.publishing import publish  # seconds

    published = publish(spec, TIMEOUT_SECONDS)
    if arguments.json:
        print_json(
            {
                "sweep": spec.sweep_id,
                "tracking_uri": spec.tracking_uri,
                "sent": published.sent,
                "left": published.left,
            }
        )
        return 1 if published.left.num_records else 0
    sent = published.sent
    print(
        f"sent {sent.num_records} records of {sent.num_runs} runs ({sent.num_points} points) to "
        f"{spec.tracking_uri}"
    )
    left = published.left
    if left.num_records:
        print(f"{left.num_records} records wait: {left.reason or 'MLflow takes too long'}")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(run_module("publish"))
