"""``prp finetune MODEL``: train a whole encoder to tell the classes of labelled videos apart."""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

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
from orchestrator.commands.feature_arguments import loader_of, read_model
from orchestrator.commands.model_arguments import (
    add_mlflow_argument,
    add_model_arguments,
    tracking_uri_of,
)
from prp_core.errors import UserError

if TYPE_CHECKING:
    from orchestrator.config.run_config import RunConfig
    from orchestrator.downstream.evaluate_splits import Split
    from orchestrator.downstream.fine_tuning import Tuned
    from prp_core.evaluation.frame_encoder import FrameEncoder

EXPERIMENT = "prp-finetune"
VAL_FRACTION = 0.2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The encoder, the labelled videos, how it learns, and where it goes."""
    add_model_arguments(parser)
    parser.add_argument(
        "--out",
        metavar="DIR",
        required=True,
        help="where the encoder and its checkpoints go; the same command again continues from them",
    )
    parser.add_argument(
        "--from-scratch",
        action="store_true",
        help="random weights of the same encoder: the supervised figure to compare with",
    )
    parser.add_argument("--epochs", type=int, metavar="N", help="epochs in all (default: 160)")
    parser.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a value of evaluation.recognition, for example learning_rate=0.01; or seed=7",
    )
    add_where_argument(parser)
    add_label_arguments(parser)
    add_mlflow_argument(parser)
    add_json_argument(parser)
    add_store_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Train, going on where an earlier run was, and print the accuracy on the test part."""
    tree = settings_tree(arguments.settings, arguments.epochs)
    mlflow = tracking_uri_of(arguments)
    encoder, _ = read_model(arguments)
    config = _config(arguments, encoder, tree)

    split = _split(arguments, encoder, config)
    if arguments.from_scratch:
        from prp_core.evaluation.baselines import untrained_encoder

        encoder.encoder = untrained_encoder(config)
    origin = "random weights" if arguments.from_scratch else arguments.model
    tuned, links = _tune(arguments, encoder, config, split, origin, mlflow)
    if arguments.json:
        print_json(
            {
                **links,
                "metrics": tuned.metrics,
                "labels": tuned.labels,
                "num_gallery": len(split.gallery),
                "num_queries": len(split.queries),
            }
        )
        return 0
    print(
        f"accuracy {100 * tuned.metrics['recognition/accuracy']:.1f} % on {len(split.queries)} "
        f"videos in {len(tuned.labels)} classes, fine-tuned on {len(split.gallery)} from {origin}",
        file=sys.stderr,
    )
    print(f"curves: run {links['run']} of {EXPERIMENT} at {mlflow}", file=sys.stderr)
    print(links["folder"])
    return 0


def _tune(
    arguments: argparse.Namespace,
    encoder: FrameEncoder,
    config: RunConfig,
    split: Split,
    origin: str,
    mlflow: str,
) -> tuple[Tuned, dict[str, str]]:
    """(what was tuned, where it is), with its curves and its model in MLflow."""
    from orchestrator.downstream.fine_tuning import tune
    from orchestrator.tracking.models import log_encoder_files
    from orchestrator.tracking.run_reporter import RunReporter

    out = Path(arguments.out).expanduser().resolve()
    tags = {"prp.role": "finetune", "prp.fine_tuned_from": origin, "prp.data_uri": arguments.data}
    with RunReporter(
        mlflow,
        EXPERIMENT,
        key=_key(out, origin, config),
        name=out.name,
        params={"encoder.name": config.encoder.name, **recognition_params(config)},
        tags=tags,
    ) as reporter:
        tuned = tune(encoder, config, split, out, reporter, tags)
        encoder_files = {
            name: data for name, data in tuned.files.items() if name.startswith("encoder.")
        }
        model_id = reporter.told(
            lambda: log_encoder_files(
                reporter.client,
                reporter.run_id,
                encoder_files,
                name="encoder",
                metrics=tuned.metrics,
                step=0,
                tags=tags,
            )
        )
    links = {"folder": str(out), "run": reporter.run_id, "model": f"models:/{model_id}"}
    return tuned, {**links, "tracking_uri": mlflow}


def _key(out: Path, origin: str, config: RunConfig) -> str:
    """What the run is found by again: another start or another setting is another run."""
    recognition = {**recognition_params(config), "evaluation.recognition.num_epochs": None}
    text = f"{out} {origin} {sorted(recognition.items(), key=str)}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def settings_tree(settings: list[str], epochs: int | None) -> dict[str, object]:
    """The config tree of ``--set KEY=VALUE`` and ``--epochs``. Raises `UserError`."""
    from orchestrator.config.run_config import with_settings

    prefix = "evaluation.recognition."
    paths = [text if text.startswith(("seed", prefix)) else prefix + text for text in settings]
    if epochs is not None:
        paths.append(f"{prefix}num_epochs={epochs}")
    return with_settings({}, paths)


def recognition_params(config: RunConfig) -> dict[str, object]:
    """The parameters that MLflow shows."""
    from dataclasses import asdict

    recognition = config.evaluation.recognition
    assert recognition is not None
    named = {f"evaluation.recognition.{name}": value for name, value in asdict(recognition).items()}
    return {**named, "seed": config.seed}


def _config(
    arguments: argparse.Namespace, encoder: FrameEncoder, tree: dict[str, object]
) -> RunConfig:
    from dataclasses import replace

    from orchestrator.config.run_config import parse_config
    from orchestrator.downstream.fine_tuning import config_of

    base = config_of(encoder, parse_config(tree))
    return replace(base, loader=loader_of(encoder), store=store_config(arguments))


def _split(arguments: argparse.Namespace, encoder: FrameEncoder, config: RunConfig) -> Split:
    """The parts of the videos: learnt from, and measured on."""
    from orchestrator.data.label_source import LabelSource
    from orchestrator.downstream.evaluate_splits import splits_of
    from orchestrator.downstream.video_set import find_videos

    manifest = find_videos(
        arguments.data,
        labels=LabelSource(labels_csv=arguments.labels),
        where=arguments.where,
        loader=loader_of(encoder),
        store=store_config(arguments),
        on_progress=print_index_progress,
    )
    if not manifest.labels:
        raise UserError(
            f"No video of {arguments.data} has a class; put them into class folders, or give "
            "--labels"
        )
    wanted = (arguments.split,) if arguments.splits else ()
    (split,) = splits_of(
        manifest, arguments.splits, wanted, val_fraction=VAL_FRACTION, seed=config.seed
    )
    return split


if __name__ == "__main__":
    raise SystemExit(run_module("finetune"))
