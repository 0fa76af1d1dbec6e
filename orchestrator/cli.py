"""The command line ``prp``: its tree of commands, and how every command of this project ends.

What a command finds goes to stdout, what it says on the way to stderr. Exit codes: 0 done, 1 the world failed, 2 the input is
wrong (one line that says what to do), 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from orchestrator import report_command, reproduce_command, status_command
from orchestrator.cache_command import CACHE_COMMANDS
from orchestrator.index_run import index
from orchestrator.prepare_command import add_prepare_arguments, run_prepare, say_index_progress
from orchestrator.storage.manifest_file import is_manifest_uri, read_manifest
from orchestrator.storage.open_store import open_store
from orchestrator.storage.prepared_place import read_marker
from orchestrator.store_arguments import add_label_arguments, add_store_arguments, store_config
from prp_core.data.clip_config import ClipConfig
from prp_core.data.dilated_sampling import span_length
from prp_core.data.feasibility import lost_classes
from prp_core.data.loader_config import LoaderConfig
from prp_core.data.manifest import Manifest, VideoRecord, feasibility
from prp_core.errors import PrpError, UserError
from prp_core.pretext.pretext_config import parse_rates

NUM_QUARANTINED_SHOWN = 20


@dataclass(frozen=True)
class Command:
    """A leaf of the tree: what it does in one line, its arguments, and the function that does it and returns the exit code."""

    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as every other error of ours does."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """The program ``prp``; the exit code."""
    return run_command(lambda: _run(argv))


def run_command(function: Callable[[], int | None], name: str = "prp") -> int:
    """Run a command to its exit code; what went wrong becomes one line on stderr, without a traceback."""
    try:
        exit_code = function() or 0
        sys.stdout.flush()
        return exit_code
    except UserError as error:
        return _complain(name, error, 2)
    except PrpError as error:
        return _complain(name, error, 1)
    except KeyboardInterrupt:
        return _complain(name, "interrupted", 130)
    except BrokenPipeError:  # whoever read our output has gone (`prp ... | head`); keep the interpreter from complaining at its exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _complain(name: str, error: object, exit_code: int) -> int:
    print(f"{name}: error: {' '.join(str(error).split())}" if exit_code != 130 else f"{name}: {error}", file=sys.stderr)
    return exit_code


def _run(argv: Sequence[str] | None) -> int:
    arguments = _parser().parse_args(argv)
    command: Command = arguments.command
    return command.run(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="prp", description="Playback Rate Perception at cluster scale.")
    groups = parser.add_subparsers(metavar="COMMAND", required=True)
    for group_name, entry in COMMANDS.items():
        if isinstance(entry, Command):
            _add_leaf(groups, group_name, entry)
            continue
        group_help, commands = entry
        group = groups.add_parser(group_name, help=group_help, description=group_help)
        leaves = group.add_subparsers(metavar="COMMAND", required=True)
        for name, command in commands.items():
            _add_leaf(leaves, name, command)
    return parser


def _add_leaf(leaves: argparse._SubParsersAction, name: str, command: Command) -> None:
    leaf = leaves.add_parser(name, help=command.help, description=command.help)
    command.add_arguments(leaf)
    leaf.set_defaults(command=command)


# ---- prp data


def _add_index_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("uri", metavar="URI", help="a folder or s3://bucket/prefix")
    parser.add_argument("--out", metavar="URI", help="where the manifest goes (default: ~/.prp/manifests)")
    add_label_arguments(parser)
    parser.add_argument("--workers", type=int, help="videos verified at a time (default: one per CPU)")
    parser.add_argument("--reader", default=LoaderConfig().reader, help="the decoder (default: %(default)s)")
    add_store_arguments(parser)


def _index(arguments: argparse.Namespace) -> int:
    manifest, uri = _make_manifest(arguments, arguments.uri)
    _say_summary(manifest, uri)
    print(uri)
    return 0


def _add_show_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("uri", metavar="MANIFEST", help="a manifest that 'prp data index' made, or a place with videos")
    parser.add_argument("--all", action="store_true", help="every quarantined video, not the first ones only")
    add_store_arguments(parser)


def _show(arguments: argparse.Namespace) -> int:
    manifest = _manifest_at(arguments)
    usable, quarantined = manifest.usable(), manifest.quarantined()
    num_frames = sorted(record.num_frames for record in usable)
    print(f"videos under   {manifest.uri}")
    marker = None if is_manifest_uri(arguments.uri) else read_marker(open_store(arguments.uri, store_config(arguments)))
    if marker is not None:
        print(f"prepared       {marker.words}")
    print(f"content hash   {manifest.content_hash}")
    print(f"usable         {len(usable)} of {len(manifest.records)}, {sum(record.num_bytes for record in usable) / 1e9:.2f} GB")
    if usable:
        print(f"frames         {num_frames[0]} to {num_frames[-1]}, median {num_frames[len(num_frames) // 2]}")
        print(f"classes        {len(manifest.labels)}, in {len({record.group for record in usable})} groups")
        print(f"splits         {_counts(record.split or 'unstated' for record in usable)}")
        print(f"codecs         {_counts(record.codec for record in usable)}")
    print(f"quarantined    {len(quarantined)}" + (f": {_counts(record.reason for record in quarantined)}" if quarantined else ""))
    shown = quarantined if arguments.all else quarantined[:NUM_QUARANTINED_SHOWN]
    for record in shown:
        print(f"  {record.key}: {record.reason}" + (f" ({record.detail})" if record.detail else ""))
    if len(shown) < len(quarantined):
        print(f"  ... and {len(quarantined) - len(shown)} more; --all shows them")
    return 0


def _counts(words: object) -> str:
    return ", ".join(f"{count} {word}" for word, count in sorted(Counter(words).items()))  # type: ignore[call-overload]


def _add_feasibility_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("uri", metavar="MANIFEST", help="a manifest that 'prp data index' made, or a place with videos")
    parser.add_argument("--rates", default="1-2-4-8", help="a rate set (default: %(default)s)")
    parser.add_argument("--lengths", default="8-16", help="clip lengths in frames (default: %(default)s)")
    parser.add_argument("--classes", action="store_true", help="the same for each class")
    add_store_arguments(parser)


def _feasibility(arguments: argparse.Namespace) -> int:
    rates = parse_rates(arguments.rates, "--rates")
    lengths = _parse_lengths(arguments.lengths)
    manifest = _manifest_at(arguments)
    records = manifest.usable()
    print(f"{len(records)} usable videos; those long enough for a clip of so many frames (span in the source):")
    _print_feasibility(records, rates, lengths)
    if arguments.classes:
        for label in manifest.labels:
            own = [record for record in records if record.label == label]
            print(f"class {label}: {len(own)} videos")
            _print_feasibility(own, rates, lengths)
    for length in lengths:
        for rate, labels in lost_classes(records, rates, length).items():
            print(f"rate {rate} with {length} frames loses every video of {len(labels)} of {len(manifest.labels)} classes: {', '.join(labels)}")
    return 0


def _print_feasibility(records: Sequence[VideoRecord], rates: Sequence[int], lengths: Sequence[int]) -> None:
    counts = {length: feasibility(records, rates, length) for length in lengths}
    print("rate  " + "".join(f"{f'{length} frames':>24}" for length in lengths))
    for rate in rates:
        cells = (f"{counts[length][rate]} ({span_length(length, rate)})" for length in lengths)
        print(f"{rate:>4}  " + "".join(f"{cell:>24}" for cell in cells))


def _parse_lengths(text: str) -> tuple[int, ...]:
    try:
        lengths = tuple(int(part) for part in text.split("-"))
    except ValueError:
        raise UserError(f"--lengths = {text!r}: write clip lengths as whole numbers joined by '-', for example '8-16'") from None
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
    print(f"{len(manifest.usable())} usable videos in {len(manifest.labels)} classes, {len(quarantined)} quarantined", file=sys.stderr)
    if quarantined:
        print(f"quarantined: {_counts(record.reason for record in quarantined)}; see them with: prp data show {uri}", file=sys.stderr)


# A name of the first level is a group of commands, or a command itself.
COMMANDS: dict[str, Command | tuple[str, dict[str, Command]]] = {
    "status": Command("How a sweep stands, live; without a sweep, the list of sweeps.", status_command.add_arguments, status_command.run),
    "report": Command("Write the report of a sweep as one HTML page; prints where it is.", report_command.add_arguments, report_command.run),
    "reproduce": Command(
        "Train a trial again from its MLflow run alone and say whether the metrics agree.", reproduce_command.add_arguments, reproduce_command.run
    ),
    "cache": ("This node's cache of objects and decoded frames.", {name: Command(*leaf) for name, leaf in CACHE_COMMANDS.items()}),
    "data": (
        "Videos and their manifests.",
        {
            "index": Command("Verify every video of a folder or bucket and write the manifest; prints its URI.", _add_index_arguments, _index),
            "prepare": Command("Turn the videos of a folder or bucket into shards that train many times faster.", add_prepare_arguments, run_prepare),
            "show": Command("What a manifest holds, and which videos are quarantined and why.", _add_show_arguments, _show),
            "feasibility": Command("How many videos are long enough for each rate and clip length.", _add_feasibility_arguments, _feasibility),
        },
    ),
}
