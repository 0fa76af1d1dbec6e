"""``prp data index``: verify every video of a folder or bucket and write the manifest."""

from __future__ import annotations

import argparse

from orchestrator.commands.command import run_module
from orchestrator.commands.common_arguments import (
    add_json_argument,
    add_label_arguments,
    add_store_arguments,
    print_json,
)
from orchestrator.commands.data.manifests import facts_of, make_manifest, print_summary
from prp_core.data.loader_config import LoaderConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The videos, their labels, and where the manifest goes."""
    parser.add_argument("uri", metavar="URI", help="a folder or s3://bucket/prefix")
    parser.add_argument(
        "--out", metavar="URI", help="where the manifest goes (default: ~/.prp/manifests)"
    )
    add_label_arguments(parser)
    parser.add_argument(
        "--workers", type=int, help="videos verified at a time (default: one per CPU)"
    )
    parser.add_argument(
        "--reader", default=LoaderConfig().reader, help="the decoder (default: %(default)s)"
    )
    add_json_argument(parser)
    add_store_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Index the videos and print the manifest's URI."""
    manifest, uri = make_manifest(arguments)
    print_summary(manifest, uri)
    if arguments.json:
        print_json({"manifest": uri, **facts_of(manifest)})
    else:
        print(uri)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_module("data index"))
