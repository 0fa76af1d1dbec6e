"""The manifest that a command's arguments name: read, or made by indexing the videos first."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from orchestrator.commands.common_arguments import add_store_arguments, store_config
from orchestrator.commands.data.progress import print_index_progress
from orchestrator.config.typed_command import prp

if TYPE_CHECKING:
    from prp_core.data.manifest import Manifest


def add_manifest_argument(parser: argparse.ArgumentParser) -> None:
    """A manifest, or videos that are indexed first; `manifest_at` reads it."""
    parser.add_argument(
        "uri",
        metavar="MANIFEST",
        help="a manifest that 'prp data index' made, or a place with videos",
    )
    add_where_argument(parser)
    add_store_arguments(parser)


def add_where_argument(parser: argparse.ArgumentParser) -> None:
    """Which of a manifest's videos are meant; `filtered` applies it."""
    parser.add_argument(
        "--where",
        metavar="FILTER",
        default="",
        help="only the videos that match a filter of their facts, for example "
        "'seconds >= 2 and height >= 240'",
    )


def manifest_at(arguments: argparse.Namespace) -> Manifest:
    """The manifest that `add_manifest_argument` took, with those videos that ``--where`` leaves.

    Raises `UserError` where there is none, or no video is left.
    """
    from orchestrator.storage.manifest_file import is_manifest_uri, read_manifest
    from prp_core.data.manifest_filter import filtered, parse_filter

    if arguments.where:  # before anything is indexed
        parse_filter(arguments.where)
    if is_manifest_uri(arguments.uri):
        manifest = read_manifest(arguments.uri, store_config(arguments))
    else:
        manifest = make_manifest(arguments)[0]
    return filtered(manifest, arguments.where)


def make_manifest(arguments: argparse.Namespace) -> tuple[Manifest, str]:
    """(the manifest of the videos under ``arguments.uri``, its URI); what is known is reused."""
    from orchestrator.data.index import IndexJob, index
    from orchestrator.data.label_source import LabelSource
    from prp_core.data.loader_config import LoaderConfig

    options = vars(arguments)
    labels = LabelSource(
        splits_dir=options.get("splits"),
        split=options.get("split", 1),
        labels_csv=options.get("labels"),
    )
    job = IndexJob(
        uri=arguments.uri,
        out_uri=options.get("out"),
        labels=labels,
        loader=LoaderConfig(reader=options.get("reader") or LoaderConfig().reader),
        num_workers=options.get("workers"),
        store=store_config(arguments),
    )
    return index(job, on_progress=print_index_progress)


def facts_of(manifest: Manifest) -> dict[str, object]:
    """What a manifest holds, for ``--json``."""
    usable = manifest.usable()
    lengths = sorted(record.num_frames for record in usable)
    return {
        "uri": manifest.uri,
        "content_hash": manifest.content_hash,
        "num_videos": len(manifest.records),
        "num_usable": len(usable),
        "num_bytes": sum(record.num_bytes for record in usable),
        "num_frames": {
            "least": lengths[0],
            "median": lengths[len(lengths) // 2],
            "most": lengths[-1],
        }
        if lengths
        else None,
        "labels": list(manifest.labels),
        "num_groups": len({record.group for record in usable}),
        "splits": Counter(record.split or "unstated" for record in usable),
        "codecs": Counter(record.codec for record in usable),
        "quarantined": [
            {"key": record.key, "reason": record.reason, "detail": record.detail}
            for record in manifest.quarantined()
        ],
    }


def print_summary(manifest: Manifest, uri: str) -> None:
    """How many videos of `manifest` (at `uri`) are usable, and why the others are not."""
    from orchestrator.data.index import advice_to_prepare

    quarantined = manifest.quarantined()
    print(
        f"{len(manifest.usable())} usable videos in {len(manifest.labels)} classes, "
        f"{len(quarantined)} quarantined",
        file=sys.stderr,
    )
    if quarantined:
        reasons = counts(record.reason for record in quarantined)
        print(f"quarantined: {reasons}; see them with: {prp(f'data show {uri}')}", file=sys.stderr)
    if advice := advice_to_prepare(manifest):
        print(advice, file=sys.stderr)


def counts(words: Iterable[str | None]) -> str:
    """``2 empty, 1 truncated``: how often each of `words` occurs."""
    return ", ".join(f"{count} {word}" for word, count in sorted(Counter(words).items()))
