"""``prp export MODEL``: an encoder for other software, compared with ours after it was written."""

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
)
from orchestrator.commands.model_arguments import (
    add_mlflow_argument,
    add_model_argument,
    load_model,
)
from orchestrator.commands.output_file import output_file

if TYPE_CHECKING:
    import numpy as np

    from prp_core.evaluation.frame_encoder import FrameEncoder
    from prp_core.evaluation.portable_encoder import Parity

# Format -> the suffix of its file.
FORMATS = {
    "torch-export": ".pt2",
    "onnx": ".onnx",
    "official": ".pth.tar",
    "torchvision": ".pth",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The encoder, the format and the file."""
    add_model_argument(parser)
    parser.add_argument(
        "--format",
        metavar="FORMAT",
        required=True,
        help="torch-export or onnx (a program: clips (B, 3, T, H, W) in [0, 1] to features "
        "(B, D)), official or torchvision (the weights under the names of that code)",
    )
    parser.add_argument(
        "--out", metavar="FILE", help="the file (default: NAME.pt2 and so on, in this folder)"
    )
    add_mlflow_argument(parser)
    add_json_argument(parser)
    add_store_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the file, compare, and print both; 1 where the two differ by more than allowed."""
    from prp_core.catalogue import look_up

    suffix = look_up("format", arguments.format, FORMATS)
    path = output_file(arguments.out, "--out") if arguments.out else None
    encoder = load_model(arguments)
    name = encoder.card.encoder
    path = path or output_file(f"{name}{suffix}", "--out")

    from prp_core.evaluation.portable_encoder import TOLERANCE

    beside = path.with_name(f".{path.name}.unfinished{suffix}")
    try:
        parity = _write(encoder, arguments.format, beside)
        if parity.holds:
            beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    if arguments.json:
        print_json(
            {
                "file": path if parity.holds else None,
                "format": arguments.format,
                "encoder": name,
                "compared": parity.compared,
                "largest_difference": parity.largest_difference,
                "largest_value": parity.largest_value,
                "tolerance": TOLERANCE,
                "agrees": parity.holds,
            }
        )
        return 0 if parity.holds else 1
    print(_sentence(parity), file=sys.stderr)
    if not parity.holds:
        print("not written: its output differs from the encoder's", file=sys.stderr)
        return 1
    print(path)
    return 0


def _write(encoder: FrameEncoder, file_format: str, path: Path) -> Parity:
    from prp_core.evaluation.portable_encoder import save_layout, save_onnx, save_program

    if file_format == "torch-export":
        return save_program(encoder, path)
    if file_format == "onnx":
        return save_onnx(encoder, path, run_onnx)
    return save_layout(encoder, file_format, encoder.card.encoder, path)


def run_onnx(path: Path, clips_BCTHW: np.ndarray) -> np.ndarray:
    """The features (B, D) that the ONNX model at `path` computes on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    features_BD: np.ndarray = session.run(["feature"], {"clip": clips_BCTHW})[0]
    return features_BD


def _sentence(parity: Parity) -> str:
    """``features of 3 random clips: equal to ours within 1.1e-06 (0.0001 is allowed)``."""
    from prp_core.evaluation.portable_encoder import TOLERANCE

    if parity.largest_difference == 0:
        return f"{parity.compared}: equal to ours, bit for bit"
    word = "equal to ours within" if parity.holds else "differ from ours by"
    return f"{parity.compared}: {word} {parity.relative:.2g} ({TOLERANCE:g} is allowed)"


if __name__ == "__main__":
    raise SystemExit(run_module("export"))
