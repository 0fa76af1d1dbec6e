"""``prp data show``: what a manifest holds, and which videos are quarantined and why."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from orchestrator.commands.command import run_module
from orchestrator.commands.common_arguments import add_json_argument, print_json, store_config
from orchestrator.commands.data.manifests import (
    add_manifest_argument,
    counts,
    facts_of,
    manifest_at,
)
from orchestrator.config.printable import printable

if TYPE_CHECKING:
    from prp_core.data.manifest import Manifest

NUM_QUARANTINED_SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The manifest, and how much of it is shown."""
    parser.add_argument(
        "--all", action="store_true", help="every quarantined video, not the first ones only"
    )
    add_json_argument(parser)
    add_manifest_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the manifest's figures, then its quarantined videos."""
    from orchestrator.storage.manifest_file import is_manifest_uri
    from orchestrator.storage.open_store import open_store
    from orchestrator.storage.prepared_place import read_marker

    manifest = manifest_at(arguments)
    marker = None
    if not is_manifest_uri(arguments.uri):
        marker = read_marker(open_store(arguments.uri, store_config(arguments)))
    if arguments.json:
        print_json({**facts_of(manifest), "prepared": marker and marker.words})
        return 0
    print(f"videos under   {manifest.uri}")
    if marker is not None:
        print(f"prepared       {marker.words}")
    print(f"content hash   {manifest.content_hash}")
    print_usable(manifest)
    print_quarantined(manifest, show_all=arguments.all)
    return 0


def print_usable(manifest: Manifest) -> None:
    """Size, lengths, classes, splits and codecs of the usable videos."""
    usable = manifest.usable()
    num_bytes = sum(record.num_bytes for record in usable)
    print(f"usable         {len(usable)} of {len(manifest.records)}, {num_bytes / 1e9:.2f} GB")
    if not usable:
        return
    lengths = sorted(record.num_frames for record in usable)
    num_groups = len({record.group for record in usable})
    print(f"frames         {lengths[0]} to {lengths[-1]}, median {lengths[len(lengths) // 2]}")
    print(f"classes        {len(manifest.labels)}, in {num_groups} groups")
    print(f"splits         {counts(record.split or 'unstated' for record in usable)}")
    print(f"codecs         {counts(record.codec for record in usable)}")


def print_quarantined(manifest: Manifest, *, show_all: bool) -> None:
    """How many videos are quarantined for which reason, then each by name."""
    quarantined = manifest.quarantined()
    reasons = counts(record.reason for record in quarantined)
    print(f"quarantined    {len(quarantined)}" + (f": {reasons}" if quarantined else ""))
    shown = quarantined if show_all else quarantined[:NUM_QUARANTINED_SHOWN]
    for record in shown:
        detail = f" ({record.detail})" if record.detail else ""
        print(printable(f"  {record.key}: {record.reason}{detail}"))
    if len(shown) < len(quarantined):
        print(f"  ... and {len(quarantined) - len(shown)} more; --all shows them")


if __name__ == "__main__":
    raise SystemExit(run_module("data show"))
