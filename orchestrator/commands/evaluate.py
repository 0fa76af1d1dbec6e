"""``prp evaluate MODEL``: retrieval and a linear probe by the published protocol, beside papers."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from orchestrator.commands.command import run_module
from orchestrator.commands.common_arguments import (
    add_json_argument,
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
from orchestrator.commands.model_arguments import add_mlflow_argument, add_model_arguments
from orchestrator.config.source_config import SPLITS_HELP
from prp_core.errors import UserError

if TYPE_CHECKING:
    from orchestrator.downstream.evaluate_splits import Split
    from orchestrator.downstream.feature_run import FeatureRun
    from prp_core.evaluation.evaluation_config import Evaluations


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The encoder, the labelled videos and their splits, and what is measured beside it."""
    add_model_arguments(parser)
    parser.add_argument(
        "--splits",
        metavar="DIR",
        help=f"{SPLITS_HELP} (default: the parts of the videos themselves)",
    )
    parser.add_argument(
        "--split",
        metavar="N",
        default="",
        help="which of the splits, for example 1 or 1-2-3 (default: all three)",
    )
    parser.add_argument(
        "--labels", metavar="CSV", help="a table with the columns key,label,group,split"
    )
    parser.add_argument(
        "--baselines",
        action="store_true",
        help="measure random initialisation and pixels alone on the same videos, too",
    )
    parser.add_argument("--no-probe", action="store_true", help="retrieval alone")
    parser.add_argument(
        "--published",
        metavar="NAME",
        help="the papers' figures to print: ucf101, hmdb51 or none (default: by the classes)",
    )
    add_where_argument(parser)
    add_running_arguments(parser)
    add_mlflow_argument(parser)
    add_json_argument(parser)
    add_store_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Describe the videos once, measure each split, and print the tables."""
    from orchestrator.config.sweep_spec import home_dir
    from orchestrator.downstream.published_figures import published_rows, table_of

    wanted = split_numbers(arguments.split)
    if wanted and not arguments.splits:
        raise UserError(f"--split {arguments.split} needs --splits DIR, which numbers them")
    if arguments.published:
        published_rows(arguments.published)
    address = cluster_address(arguments)
    encoder, files = read_model(arguments)

    from orchestrator.data.label_source import LabelSource
    from orchestrator.downstream.evaluate_splits import splits_of, videos_of
    from orchestrator.downstream.feature_job import ENCODER
    from orchestrator.downstream.feature_run import FeatureRun
    from orchestrator.downstream.video_set import find_videos
    from prp_core.evaluation.baselines import BASELINES
    from prp_core.evaluation.evaluation_config import Evaluations

    manifest = find_videos(
        arguments.data,
        labels=LabelSource(labels_csv=arguments.labels),
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
        place_uri=arguments.place or str(home_dir() / "evaluations"),
        describers=(ENCODER, *BASELINES) if arguments.baselines else (ENCODER,),
    )
    splits = splits_of(manifest, arguments.splits, wanted, val_fraction=0.2, seed=job.seed)
    work = FeatureRun(job, videos_of(splits))
    work.run(
        files, address=address, num_workers=arguments.workers, on_progress=print_feature_progress
    )
    evaluations = Evaluations(views=encoder.views, recognition=None)
    if arguments.no_probe:
        evaluations = Evaluations(views=encoder.views, recognition=None, linear_probe=None)
    name = arguments.published or table_of(manifest.labels)
    _print(arguments, work, splits, evaluations, name)
    if not arguments.place:
        work.remove()
    return 0


def split_numbers(text: str) -> tuple[int, ...]:
    """The numbers of ``1-2-3``; none for an empty text. Raises `UserError`."""
    words = text.split("-") if text else []
    if not all(word.isdigit() and int(word) >= 1 for word in words):
        raise UserError(f"--split {text!r}: write numbers joined by '-', for example 1-2-3")
    return tuple(dict.fromkeys(int(word) for word in words))


def _print(
    arguments: argparse.Namespace,
    work: FeatureRun,
    splits: list[Split],
    evaluations: Evaluations,
    name: str,
) -> None:
    from orchestrator.downstream.evaluate_splits import is_published, mean_over_splits, measure
    from orchestrator.downstream.evaluation_table import figure_lines, published_lines
    from orchestrator.downstream.published_figures import SOURCES, published_rows

    found, broken = measure(work, splits, evaluations)
    if arguments.json:
        print_json(
            {
                "model": arguments.model,
                "encoder": work.job.encoder_name,
                "weights_sha256": work.job.weights_sha256,
                "is_published_protocol": is_published(work.job),
                "results": found,
                "means": {
                    describer: mean_over_splits(found, describer)
                    for describer in work.job.describers
                },
                "broken": [{"key": key, "reason": reason} for key, reason in broken],
                "published": {"rows": published_rows(name), "sources": SOURCES},
            }
        )
        return
    if broken:
        key, reason = broken[0]
        print(
            f"{len(broken)} videos could not be read, {key} ({reason}) among them",
            file=sys.stderr,
        )
    for line in figure_lines(work.job, arguments.model, splits, found):
        print(line)
    for line in published_lines(name, is_published=is_published(work.job)):
        print(line)


if __name__ == "__main__":
    raise SystemExit(run_module("evaluate"))
