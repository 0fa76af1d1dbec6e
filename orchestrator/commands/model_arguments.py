"""Arguments of the commands that use an encoder: which one, and which MLflow knows it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from orchestrator.commands.common_arguments import given_store

if TYPE_CHECKING:
    from prp_core.evaluation.frame_encoder import FrameEncoder

MODEL_HELP = (
    "an encoder: models:/NAME@best, models:/NAME/3, runs:/RUN_ID, or the folder of one "
    "(prp import-official writes such folders, sweeps/ID/encoder/0007 is one)"
)


def add_model_argument(parser: argparse.ArgumentParser) -> None:
    """The encoder; `load_model` reads it."""
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """The encoder, and the labelled videos on which it is measured or trained."""
    add_model_argument(parser)
    parser.add_argument(
        "--data",
        metavar="URI",
        required=True,
        help="labelled videos: a folder, s3://bucket/prefix, a prepared place, or a manifest",
    )


def add_mlflow_argument(parser: argparse.ArgumentParser) -> None:
    """Which MLflow; `tracking_uri_of` reads it."""
    parser.add_argument(
        "--mlflow",
        metavar="URI",
        help="MLflow's tracking URI (default: $MLFLOW_TRACKING_URI, else sqlite under ~/.prp)",
    )


def tracking_uri_of(arguments: argparse.Namespace) -> str:
    """The MLflow of a command. Raises `UserError` for a URI that cannot be one."""
    from orchestrator.config.sweep_spec import home_dir
    from orchestrator.sweep.settings import default_mlflow
    from orchestrator.tracking.tracking_uri import check_usable, default_tracking_uri

    uri = arguments.mlflow or default_mlflow() or default_tracking_uri(home_dir())
    check_usable(uri)
    return uri


def load_model(arguments: argparse.Namespace) -> FrameEncoder:
    """The encoder that ``arguments.model`` names. Raises `UserError`, `DamagedEncoder`."""
    from orchestrator.tracking.model_uri import names_model
    from orchestrator.tracking.models import load_encoder

    mlflow = tracking_uri_of(arguments) if names_model(arguments.model) else None
    return load_encoder(arguments.model, mlflow, store=given_store(arguments))
