"""``prp search VIDEO``: the videos of a feature table that are nearest to one video."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.commands.command import run_module
from orchestrator.commands.common_arguments import (
    add_json_argument,
    add_store_arguments,
    print_json,
    store_config,
)
from orchestrator.commands.feature_arguments import loader_of, make_job, read_model
from orchestrator.commands.model_arguments import MODEL_HELP, add_mlflow_argument
from orchestrator.config.printable import printable
from orchestrator.config.typed_command import prp
from prp_core.errors import UserError

if TYPE_CHECKING:
    from orchestrator.storage.feature_file import FeatureHeader


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The video, the table, and how many neighbours."""
    parser.add_argument("video", metavar="VIDEO", help="a file, or s3://bucket/prefix/video.mp4")
    parser.add_argument(
        "--index",
        metavar="FILE",
        required=True,
        help="a table that prp embed made; its vector index is made beside it at the first search",
    )
    parser.add_argument(
        "--model", metavar="MODEL", help=f"{MODEL_HELP} (default: the one that made the table)"
    )
    parser.add_argument(
        "--top", type=int, default=10, metavar="N", help="neighbours (default: %(default)s)"
    )
    parser.add_argument(
        "--exact",
        action="store_true",
        help="compare with every video, even if there are more than 50,000",
    )
    add_mlflow_argument(parser)
    add_json_argument(parser)
    add_store_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Describe the video as the table's were, and print its neighbours."""
    from orchestrator.storage.feature_file import read_header
    from prp_core.checks import check

    check(arguments.top >= 1, "--top", arguments.top, "must be at least 1")
    path = Path(arguments.index).expanduser().resolve()
    header = read_header(path)
    arguments.model = arguments.model or header.about["model"]
    encoder, files = read_model(arguments)

    from orchestrator.downstream.feature_job import ENCODER, describe
    from orchestrator.downstream.similar_videos import EXACT_BELOW, open_index
    from orchestrator.downstream.video_set import find_video
    from orchestrator.tracking.encoder_file import WEIGHTS_NAME, digest

    _check_same_encoder(arguments.model, digest(files[WEIGHTS_NAME]), header, path)
    store, record = find_video(arguments.video, loader_of(encoder), store_config(arguments))
    job = make_job(
        arguments, encoder, files, data_uri=store.uri, place_uri="", describers=(ENCODER,)
    )
    piece = describe(job, (record,), encoder.encoder)
    if piece.broken:
        raise UserError(f"{arguments.video} cannot be read: {piece.broken[0][1]}")
    exact = arguments.exact or header.num_videos <= EXACT_BELOW
    found = open_index(path).nearest(piece.features[ENCODER][0], arguments.top, exact=exact)
    if arguments.json:
        print_json({"video": arguments.video, "exact": exact, "neighbours": found})
        return 0
    how = "every one compared" if exact else "approximate: --exact compares every one"
    print(f"nearest of {header.num_videos} videos, by cosine ({how})", file=sys.stderr)
    for neighbour in found:
        label = f"  {neighbour.label}" if neighbour.label else ""
        print(f"{neighbour.similarity:7.4f}  {printable(neighbour.key + label)}")
    return 0


def _check_same_encoder(model: str, weights_sha256: str, header: FeatureHeader, path: Path) -> None:
    made_by = header.about["weights_sha256"]
    if weights_sha256 != made_by:
        raise UserError(
            f"{path.name} was made by another encoder than {model} is now (weights "
            f"{made_by[:12]}, not {weights_sha256[:12]}); name that encoder with --model, or "
            f"make the table again with {prp('embed')}"
        )


if __name__ == "__main__":
    raise SystemExit(run_module("search"))
