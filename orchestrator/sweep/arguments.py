"""The command line that every study under ``sweeps/`` has; parsing it imports nothing heavy."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from orchestrator.argument_parser import ArgumentParser
from orchestrator.config.source_config import SPLITS_HELP
from orchestrator.config.typed_command import study_program


def parse_arguments(argv: Sequence[str] | None, description: str) -> argparse.Namespace:
    """The arguments of a study (`argv` None: of this process). Raises `UserError` for wrong ones.

    `description` is the first thing that ``--help`` says.
    """
    parser = ArgumentParser(prog=study_program(sys.argv[0]), description=description)
    add_study_arguments(parser)
    return parser.parse_args(argv)


def add_study_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of every study."""
    add_plan_arguments(parser)
    _add_run_arguments(parser)


def add_plan_arguments(parser: argparse.ArgumentParser) -> None:
    """What a sweep is, where its parts lie, and how much it may spend."""
    _add_config_arguments(parser)
    _add_video_arguments(parser)
    _add_judged_arguments(parser)
    _add_place_arguments(parser)
    _add_search_arguments(parser)


def _add_config_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("config")
    group.add_argument(
        "--preset",
        help="a name under sweeps/presets, or a path to a TOML file (default: demo)",
    )
    group.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="set a config value, for example clip.length=16",
    )
    _add_initial_argument(group)


def _add_initial_argument(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--init-from",
        metavar="MODEL",
        help="start every trial's encoder from these weights instead of random ones: "
        "models:/NAME@best, models:/NAME/3, runs:/RUN_ID, or the folder of an encoder",
    )


def _add_video_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("videos")
    group.add_argument(
        "--data",
        metavar="URI",
        help="a folder of videos or s3://bucket/prefix (default: the preset's; the demo "
        "makes its own)",
    )
    group.add_argument(
        "--manifest",
        metavar="URI",
        help="a manifest made by 'prp data index', instead of indexing --data now",
    )
    group.add_argument(
        "--splits",
        metavar="DIR",
        help=SPLITS_HELP,
    )
    group.add_argument("--split", type=int, help="which split of --splits (default: 1)")
    group.add_argument(
        "--labels", metavar="CSV", help="a table with the columns key,label,group,split"
    )
    group.add_argument(
        "--where",
        metavar="FILTER",
        help="use only the videos that match a filter of their facts, for example "
        "'seconds >= 2 and height >= 240'",
    )
    group.add_argument(
        "--store",
        metavar="NAME",
        help="a table of stores.toml (endpoint, region, addressing), in this folder or in ~/.prp",
    )


def _add_judged_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "videos to judge on",
        "another corpus: all videos of --data are trained on, and retrieval, probe, fine-tuning "
        "and test take the parts of this one",
    )
    group.add_argument(
        "--eval-data",
        metavar="URI",
        help="a folder of videos with classes or s3://bucket/prefix (default: --data, divided)",
    )
    group.add_argument(
        "--eval-manifest",
        metavar="URI",
        help="its manifest, instead of indexing --eval-data now",
    )
    group.add_argument("--eval-splits", metavar="DIR", help="as --splits, of --eval-data")
    group.add_argument("--eval-split", type=int, help="as --split, of --eval-data")
    group.add_argument("--eval-labels", metavar="CSV", help="as --labels, of --eval-data")
    group.add_argument("--eval-where", metavar="FILTER", help="as --where, of --eval-data")


def _add_place_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("places")
    group.add_argument(
        "--storage",
        metavar="URI",
        help="where the sweep is kept: a folder that every node sees, or s3://bucket/prefix "
        "(default: ~/.prp)",
    )
    group.add_argument(
        "--database",
        metavar="URL",
        help="a database for Optuna's study, such as postgresql://host/name (default: the "
        "sweep's own journal in --storage)",
    )
    group.add_argument(
        "--mlflow",
        metavar="URI",
        help="MLflow's tracking URI (default: $MLFLOW_TRACKING_URI, else sqlite under ~/.prp)",
    )
    group.add_argument(
        "--address",
        default="",
        help="a Ray cluster (default: the one this job runs on, else a local one)",
    )


def _add_search_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("search", "what a resumed sweep may change as well")
    group.add_argument("--trials", type=int, help="number of trials in all; --resume may raise it")
    group.add_argument(
        "--confirm",
        type=int,
        metavar="K",
        help="train the best K again with new seeds before a winner is named; 0: do not",
    )
    group.add_argument(
        "--budget-gpu-hours",
        type=float,
        metavar="H",
        help="start no trial that would bring the sweep above H GPU-hours",
    )
    group.add_argument(
        "--budget-cpu-hours",
        type=float,
        metavar="H",
        help="the same in CPU-hours, for a cluster without GPUs",
    )
    group.add_argument(
        "--budget-usd",
        type=float,
        metavar="D",
        help="the same in dollars; needs the machines' prices",
    )
    group.add_argument(
        "--prices",
        metavar="FILE",
        help="a price list to use instead of cluster/prices.toml, in the same format",
    )


def _add_run_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("run")
    group.add_argument(
        "--sweep",
        metavar="NAME",
        help="the sweep's id: start it, or continue it where it exists",
    )
    group.add_argument(
        "--resume",
        metavar="SWEEP",
        help="continue a sweep: its id, or the full URI of its folder",
    )
    group.add_argument(
        "--warm-start",
        metavar="auto|none|SWEEP",
        help="begin with the results of earlier sweeps: all comparable ones of this name, or one "
        "(default: none)",
    )
    group.add_argument(
        "--dry-run",
        action="store_true",
        help="index, check everything, print the plan; run no trial",
    )
    group.add_argument(
        "--profile",
        dest="settings",
        action="append",
        type=lambda steps: f"training.profile_steps={steps}",
        metavar="STEPS",
        help="profile STEPS steps of each trial: a trace and its largest kernels, beside the "
        "trial's checkpoints",
    )
    group.add_argument(
        "--notify",
        metavar="URL",
        help="POST a line of JSON there when the sweep ends, fails, is stopped or is out of budget "
        "(Slack's incoming webhooks accept it; default: $PRP_NOTIFY, which other users of the "
        "machine cannot read, as they can a command line)",
    )
    group.add_argument("--verbose", action="store_true", help="Ray's own output as well")
