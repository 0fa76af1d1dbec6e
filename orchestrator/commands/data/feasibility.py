"""``prp data feasibility``: how many videos are long enough for each rate and clip length."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchestrator.commands.command import run_module
from orchestrator.commands.common_arguments import add_json_argument, print_json
from orchestrator.commands.data.manifests import add_manifest_argument, manifest_at
from prp_core.data.clip_config import ClipConfig
from prp_core.errors import UserError
from prp_core.pretext.playback_rate import parse_rates

if TYPE_CHECKING:
    from prp_core.data.manifest import Manifest, VideoRecord


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The manifest, the rates and the clip lengths."""
    parser.add_argument("--rates", default="1-2-4-8", help="a rate set (default: %(default)s)")
    parser.add_argument(
        "--lengths", default="8-16", help="clip lengths in frames (default: %(default)s)"
    )
    parser.add_argument("--classes", action="store_true", help="the same for each class")
    add_json_argument(parser)
    add_manifest_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the counts, for each class too where asked for, then the classes that a rate loses."""
    rates = parse_rates(arguments.rates, "--rates")
    lengths = parse_lengths(arguments.lengths)
    manifest = manifest_at(arguments)
    records = manifest.usable()
    if arguments.json:
        print_json(feasible(manifest, rates, lengths))
        return 0
    print(
        f"{len(records)} usable videos; those long enough for a clip of so many frames "
        "(span in the source):"
    )
    print_counts(records, rates, lengths)
    if arguments.classes:
        for label in manifest.labels:
            own = [record for record in records if record.label == label]
            print(f"class {label}: {len(own)} videos")
            print_counts(own, rates, lengths)
    print_lost_classes(manifest, rates, lengths)
    return 0


def feasible(
    manifest: Manifest, rates: Sequence[int], lengths: Sequence[int]
) -> list[dict[str, object]]:
    """For each clip length and rate: the span in frames, how many videos have one, in all and of
    each class.
    """
    from prp_core.data.dilated_sampling import span_length
    from prp_core.data.feasibility import eligible_counts

    records = manifest.usable()
    rows: list[dict[str, object]] = []
    for length in lengths:
        clip = ClipConfig(length=length)
        counts = eligible_counts(records, rates, clip)
        by_label = {
            label: eligible_counts([one for one in records if one.label == label], rates, clip)
            for label in manifest.labels
        }
        rows += [
            {
                "length": length,
                "rate": rate,
                "span": span_length(length, rate),
                "num_videos": counts[rate],
                "by_class": {label: own[rate] for label, own in by_label.items()},
            }
            for rate in rates
        ]
    return rows


def print_counts(
    records: Sequence[VideoRecord], rates: Sequence[int], lengths: Sequence[int]
) -> None:
    """A row for each rate: of how many `records` a clip of each length can be drawn."""
    from prp_core.data.dilated_sampling import span_length
    from prp_core.data.feasibility import eligible_counts

    counts = {
        length: eligible_counts(records, rates, ClipConfig(length=length)) for length in lengths
    }
    print("rate  " + "".join(f"{f'{length} frames':>24}" for length in lengths))
    for rate in rates:
        cells = (f"{counts[length][rate]} ({span_length(length, rate)})" for length in lengths)
        print(f"{rate:>4}  " + "".join(f"{cell:>24}" for cell in cells))


def print_lost_classes(manifest: Manifest, rates: Sequence[int], lengths: Sequence[int]) -> None:
    """A line for each rate and length at which no video of some class is long enough."""
    from prp_core.data.feasibility import lost_classes

    records = manifest.usable()
    for length in lengths:
        for rate, labels in lost_classes(records, rates, ClipConfig(length=length)).items():
            print(
                f"rate {rate} with {length} frames loses every video of {len(labels)} "
                f"of {len(manifest.labels)} classes: {', '.join(labels)}"
            )


def parse_lengths(text: str) -> tuple[int, ...]:
    """Clip lengths in frames from ``8-16``. Raises `UserError` for one that no encoder takes."""
    try:
        lengths = tuple(int(part) for part in text.split("-"))
    except ValueError:
        raise UserError(
            f"--lengths = {text!r}: write clip lengths as whole numbers joined by '-', "
            "for example '8-16'"
        ) from None
    for length in lengths:
        ClipConfig(length=length)
    return lengths


if __name__ == "__main__":
    raise SystemExit(run_module("data feasibility"))
