"""Arguments of the commands that describe videos by an encoder: which, where, with how much."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from orchestrator.commands.common_arguments import add_address_argument, given_store, store_config
from orchestrator.commands.model_arguments import tracking_uri_of

if TYPE_CHECKING:
    from orchestrator.downstream.feature_job import FeatureJob
    from orchestrator.downstream.feature_run import FeatureProgress
    from prp_core.data.loader_config import LoaderConfig
    from prp_core.evaluation.frame_encoder import FrameEncoder


def add_running_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the work runs, and where what is unfinished lies."""
    add_address_argument(parser, otherwise="this machine")
    parser.add_argument(
        "--workers",
        type=int,
        default=1,
        metavar="N",
        help="without a cluster: tasks at a time (default: %(default)s, in this process)",
    )
    parser.add_argument(
        "--place",
        metavar="URI",
        help="where unfinished work lies: a folder that every node sees, or s3://bucket/prefix",
    )


def cluster_address(arguments: argparse.Namespace) -> str | None:
    """The cluster of ``--address`` or of this job; None where the work runs on this machine.

    Raises `UserError` for a wrong ``--workers``.
    """
    from prp_core.checks import check

    check(arguments.workers >= 1, "--workers", arguments.workers, "must be at least 1")
    return arguments.address or os.environ.get("RAY_ADDRESS") or None


def read_model(arguments: argparse.Namespace) -> tuple[FrameEncoder, dict[str, bytes]]:
    """The encoder that ``arguments.model`` names, and its files. Raises as `load_encoder` does."""
    from orchestrator.tracking.model_uri import names_model
    from orchestrator.tracking.models import encoder_of_files, read_encoder_files

    mlflow = tracking_uri_of(arguments) if names_model(arguments.model) else None
    files, card_sha256 = read_encoder_files(arguments.model, mlflow, store=given_store(arguments))
    return encoder_of_files(files, card_sha256), files


def loader_of(encoder: FrameEncoder) -> LoaderConfig:
    """How videos are read for `encoder`: by the reader and the limits that decided its pixels."""
    from orchestrator.config.run_config import parse_config

    stored = dict(encoder.card.config.get("loader", {}))
    names = ("reader", "max_pixels", "max_carried_pixels")
    return parse_config({"loader": {name: stored[name] for name in names if name in stored}}).loader


def make_job(
    arguments: argparse.Namespace,
    encoder: FrameEncoder,
    files: dict[str, bytes],
    *,
    data_uri: str,
    place_uri: str,
    describers: tuple[str, ...],
) -> FeatureJob:
    """The job that describes the videos at `data_uri` as `encoder` was measured."""
    from orchestrator.downstream.feature_job import FeatureJob
    from orchestrator.tracking.encoder_file import WEIGHTS_NAME, digest

    return FeatureJob(
        encoder_uri="",
        encoder_name=encoder.card.encoder,
        weights_sha256=digest(files[WEIGHTS_NAME]),
        data_uri=data_uri,
        place_uri=place_uri,
        clip=encoder.clip,
        views=encoder.views,
        loader=loader_of(encoder),
        store=store_config(arguments),
        describers=describers,
        seed=int(encoder.card.config.get("seed", 632)),
    )


def print_feature_progress(progress: FeatureProgress) -> None:
    """How far the features are, on one line of stderr that is written over on a terminal."""
    is_last = progress.num_done == progress.num_videos
    if not sys.stderr.isatty() and not is_last:
        return
    broken = f", {progress.num_broken} broken" if progress.num_broken else ""
    reused = f" ({progress.num_reused} from before)" if progress.num_reused else ""
    end = "\n" if is_last or not sys.stderr.isatty() else ""
    start = "\r" if sys.stderr.isatty() else ""
    print(
        f"{start}features of {progress.num_done} of {progress.num_videos} videos{reused}{broken}",
        end=end,
        file=sys.stderr,
        flush=True,
    )
