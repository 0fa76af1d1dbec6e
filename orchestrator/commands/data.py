"""``prp data``: index a folder or bucket of videos, show a manifest, count the videos that are long
enough.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence

from orchestrator.commands.common_arguments import (
    add_label_arguments,
    add_store_arguments,
    store_config,
)
from orchestrator.commands.prepare import say_index_progress
from orchestrator.data.index import index
from orchestrator.storage.manifest_file import is_manifest_uri, read_manifest
from orchestrator.storage.open_store import open_store
from orchestrator.storage.prepared_place import read_marker
from prp_core.data.clip_config import ClipConfig
from prp_core.data.dilated_sampling import span_length
from prp_core.data.feasibility import eligible_counts, lost_classes
from prp_core.data.loader_config import LoaderConfig
from prp_core.data.manifest import Manifest, VideoRecord
from prp_core.errors import UserError
from prp_core.pretext.pretext_config import parse_rates

NUM_QUARANTINED_SHOWN = 20


def _add_index_arguments(parser: argparse.ArgumentParser) -> None:
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
    add_store_arguments(parser)


def _index(arguments: argparse.Namespace) -> int:
    manifest, uri = _make_manifest(arguments, arguments.uri)
    _say_summary(manifest, uri)
    print(uri)
    return 0


def _add_show_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "uri",
        metavar="MANIFEST",
        help="a manifest that 'prp data index' made, or a place with videos",
    )
    parser.add_argument(
        "--all", action="store_true", help="every quarantined video, not the first ones only"
    )
    add_store_arguments(parser)


def _show(arguments: argparse.Namespace) -> int:
    manifest = _manifest_at(arguments)
    usable = manifest.usable()
    quarantined = manifest.quarantined()
    num_frames = sorted(record.num_frames for record in usable)
    print(f"videos under   {manifest.uri}")
    marker = (
        None
        if is_manifest_uri(arguments.uri)
        else read_marker(open_store(arguments.uri, store_config(arguments)))
    )
    if marker is not None:
        print(f"prepared       {marker.words}")
    print(f"content hash   {manifest.content_hash}")
    print(
        f"usable         {len(usable)} of {len(manifest.records)}, "
        f"{sum(record.num_bytes for record in usable) / 1e9:.2f} GB"
    )
    if usable:
        print(
            f"frames         {num_frames[0]} to {num_frames[-1]}, median "
            f"{num_frames[len(num_frames) // 2]}"
        )
        print(
            f"classes        {len(manifest.labels)}, in "
            f"{len({record.group for record in usable})} groups"
        )
        print(f"splits         {_counts(record.split or 'unstated' for record in usable)}")
        print(f"codecs         {_counts(record.codec for record in usable)}")
    print(
        f"quarantined    {len(quarantined)}"
        + (f": {_counts(record.reason for record in quarantined)}" if quarantined else "")
    )
    shown = quarantined if arguments.all else quarantined[:NUM_QUARANTINED_SHOWN]
    for record in shown:
        print(f"  {record.key}: {record.reason}" + (f" ({record.detail})" if record.detail else ""))
    if len(shown) < len(quarantined):
        print(f"  ... and {len(quarantined) - len(shown)} more; --all shows them")
    return 0


def _counts(words: object) -> str:
    return ", ".join(f"{count} {word}" for word, count in sorted(Counter(words).items()))  # type: ignore[call-overload]


def _add_feasibility_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "uri",
        metavar="MANIFEST",
        help="a manifest that 'prp data index' made, or a place with videos",
    )
    parser.add_argument("--rates", default="1-2-4-8", help="a rate set (default: %(default)s)")
    parser.add_argument(
        "--lengths", default="8-16", help="clip lengths in frames (default: %(default)s)"
    )
    parser.add_argument("--classes", action="store_true", help="the same for each class")
    add_store_arguments(parser)


def _feasibility(arguments: argparse.Namespace) -> int:
    rates = parse_rates(arguments.rates, "--rates")
    lengths = _parse_lengths(arguments.lengths)
    manifest = _manifest_at(arguments)
    records = manifest.usable()
    print(
        f"{len(records)} usable videos; those long enough for a clip of so many frames "
        "(span in the source):"
    )
    _print_feasibility(records, rates, lengths)
    if arguments.classes:
        for label in manifest.labels:
            own = [record for record in records if record.label == label]
            print(f"class {label}: {len(own)} videos")
            _print_feasibility(own, rates, lengths)
    for length in lengths:
        for rate, labels in lost_classes(records, rates, ClipConfig(length=length)).items():
            print(
                f"rate {rate} with {length} frames loses every video of {len(labels)} "
                f"of {len(manifest.labels)} classes: {', '.join(labels)}"
            )
    return 0


def _print_feasibility(
    records: Sequence[VideoRecord], rates: Sequence[int], lengths: Sequence[int]
) -> None:
    counts = {
        length: eligible_counts(records, rates, ClipConfig(length=length)) for length in lengths
    }
    print("rate  " + "".join(f"{f'{length} frames':>24}" for length in lengths))
    for rate in rates:
        cells = (f"{counts[length][rate]} ({span_length(length, rate)})" for length in lengths)
        print(f"{rate:>4}  " + "".join(f"{cell:>24}" for cell in cells))


def _parse_lengths(text: str) -> tuple[int, ...]:
    try:
        lengths = tuple(int(part) for part in text.split("-"))
    except ValueError:
        raise UserError(
            f"--lengths = {text!r}: write clip lengths as whole numbers joined by '-', "
            "for example '8-16'"
        ) from None
    for length in lengths:
        ClipConfig(length=length)  # refuses lengths that no encoder takes
    return lengths


def _manifest_at(arguments: argparse.Namespace) -> Manifest:
    if is_manifest_uri(arguments.uri):
        return read_manifest(arguments.uri, store_config(arguments))
    return _make_manifest(arguments, arguments.uri)[0]


def _make_manifest(arguments: argparse.Namespace, uri: str) -> tuple[Manifest, str]:
    options = vars(arguments)
    return index(
        uri,
        options.get("out"),
        splits_dir=options.get("splits"),
        split=options.get("split", 1),
        labels_csv=options.get("labels"),
        loader=LoaderConfig(reader=options.get("reader") or LoaderConfig().reader),
        store=store_config(arguments),
        num_workers=options.get("workers"),
        on_progress=say_index_progress,
    )


def _say_summary(manifest: Manifest, uri: str) -> None:
    quarantined = manifest.quarantined()
    print(
        f"{len(manifest.usable())} usable videos in {len(manifest.labels)} classes, "
        f"{len(quarantined)} quarantined",
        file=sys.stderr,
    )
    if quarantined:
        print(
            f"quarantined: {_counts(record.reason for record in quarantined)}; see them "
            f"with: prp data show {uri}",
            file=sys.stderr,
        )
