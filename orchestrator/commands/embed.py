"""``prp embed VIDEOS``: a feature vector for each video, as a Parquet table."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from orchestrator.commands.command import run_module
from orchestrator.commands.common_arguments import (
    add_json_argument,
    add_label_arguments,
    add_store_arguments,
    print_json,
    store_config,
)
from orchestrator.commands.data.manifests import add_where_argument
from orchestrator.commands.data.progress import print_index_progress
from orchestrator.commands.feature_arguments import (
    add_running_arguments,
    cluster_address,
    loader_of,
    make_job,
    print_feature_progress,
    read_model,
)
from orchestrator.commands.model_arguments import MODEL_HELP, add_mlflow_argument
from orchestrator.commands.output_file import output_file
from prp_core.errors import UserError

MAX_NAMED = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The videos, the encoder, the table, and where the work runs."""
    parser.add_argument(
        "videos",
        metavar="VIDEOS",
        help="a folder, s3://bucket/prefix, a prepared place, or a manifest",
    )
    parser.add_argument("--model", metavar="MODEL", required=True, help=MODEL_HELP)
    parser.add_argument(
        "--out", metavar="FILE", required=True, help="the table, features.parquet for example"
    )
    add_where_argument(parser)
    add_label_arguments(parser)
    add_running_arguments(parser)
    add_mlflow_argument(parser)
    add_json_argument(parser)
    add_store_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Describe every video, resuming an unfinished run, and write the table."""
    out = output_file(arguments.out, "--out")
    if out.suffix != ".parquet":
        raise UserError(f"--out {arguments.out}: name a file that ends in .parquet")
    address = cluster_address(arguments)
    encoder, files = read_model(arguments)

    from orchestrator.data.label_source import LabelSource
    from orchestrator.downstream.feature_job import ENCODER
    from orchestrator.downstream.feature_run import FeatureRun
    from orchestrator.downstream.feature_table import is_made, write_table
    from orchestrator.downstream.video_set import find_videos

    manifest = find_videos(
        arguments.videos,
        labels=LabelSource(
            splits_dir=arguments.splits, split=arguments.split, labels_csv=arguments.labels
        ),
        where=arguments.where,
        loader=loader_of(encoder),
        store=store_config(arguments),
        on_progress=print_index_progress,
    )
    job = make_job(
        arguments,
        encoder,
        files,
        data_uri=manifest.uri,
        place_uri=arguments.place or f"{out}.unfinished",
        describers=(ENCODER,),
    )
    work = FeatureRun(job, manifest.usable())
    broken: list[tuple[str, str]] = []
    was_made = is_made(out, work.digest)
    if not was_made:
        work.run(
            files,
            address=address,
            num_workers=arguments.workers,
            on_progress=print_feature_progress,
        )
        broken = write_table(work, out, {"model": arguments.model})
    work.remove()
    _print(arguments, out, len(manifest.usable()), broken, was_made=was_made)
    return 0


def _print(
    arguments: argparse.Namespace,
    out: Path,
    num_videos: int,
    broken: list[tuple[str, str]],
    *,
    was_made: bool,
) -> None:
    from orchestrator.storage.feature_file import read_header

    header = read_header(out)
    if arguments.json:
        print_json(
            {
                "file": out,
                "num_videos": header.num_videos,
                "dimension": header.dimension,
                "was_made_before": was_made,
                "broken": [{"key": key, "reason": reason} for key, reason in broken],
                "made_by": header.about,
            }
        )
        return
    if broken:
        named = ", ".join(f"{key} ({reason})" for key, reason in broken[:MAX_NAMED])
        rest = len(broken) - MAX_NAMED
        print(
            f"{len(broken)} of {num_videos} videos could not be read: {named}"
            + (f" and {rest} more" if rest > 0 else ""),
            file=sys.stderr,
        )
    before = "was made before: " if was_made else ""
    print(f"{before}{header.num_videos} videos, {header.dimension} numbers each", file=sys.stderr)
    print(out)


if __name__ == "__main__":
    raise SystemExit(run_module("embed"))
