"""Portable encoders: an encoder as a program or as weights for other software, compared with ours.

A program maps clips (B, 3, T, crop, crop) in [0, 1] to retrieval features (B, D), for any B.
"""

from __future__ import annotations

import copy
import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from prp_core.encoders.foreign_layouts import check_layout, from_layout, to_layout
from prp_core.errors import PrpError, UserError
from prp_core.evaluation.features import retrieval_feature
from prp_core.evaluation.frame_encoder import FrameEncoder
from prp_core.numerics import strict_float32

TOLERANCE = 1e-4
"""The largest difference from ours, as a share of the largest feature, that is called equal."""

NUM_COMPARED = 3  # clips; another number than a program is traced with
NUM_TRACED = 2
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")

RunModel = Callable[[Path, np.ndarray], np.ndarray]
"""Runs the ONNX model of a file on clips, float32 (B, 3, T, crop, crop); its features (B, D)."""


@dataclass(frozen=True)
class Parity:
    """How a file differs from our encoder: the largest difference of a feature of `num_compared`
    random clips, and the largest feature; or for weights, of a weight.
    """

    compared: str
    largest_difference: float
    largest_value: float

    @property
    def relative(self) -> float:
        """The largest difference as a share of the largest value."""
        return self.largest_difference / max(self.largest_value, torch.finfo(torch.float32).tiny)

    @property
    def holds(self) -> bool:
        """Whether the two agree within `TOLERANCE`; not where a value is not a number."""
        return self.relative <= TOLERANCE


class ClipFeature(nn.Module):
    """`encoder` followed by `retrieval_feature`."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, clip_BCTHW: torch.Tensor) -> torch.Tensor:
        """(B, D)."""
        return retrieval_feature(self.encoder(clip_BCTHW))


def save_program(encoder: FrameEncoder, path: Path) -> Parity:
    """Write the encoder as a program of ``torch.export`` (``.pt2``); see `Parity`."""
    with _quiet():
        program = torch.export.export(
            _plain(encoder), (_clips(encoder, NUM_TRACED),), dynamic_shapes=_any_batch()
        )
        torch.export.save(program, path)
        return _parity(encoder, torch.export.load(path).module())


def save_onnx(encoder: FrameEncoder, path: Path, run_model: RunModel) -> Parity:
    """Write the encoder as an ONNX model, its weights inside; input ``clip``, output ``feature``.

    Raises `UserError` where the packages of the extra ``onnx`` are not installed.
    """
    check_onnx()
    with _quiet():
        torch.onnx.export(
            _plain(encoder),
            (_clips(encoder, NUM_TRACED),),
            path,
            input_names=["clip"],
            output_names=["feature"],
            dynamic_shapes=_any_batch(),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    return _parity(encoder, lambda clips: torch.from_numpy(run_model(path, clips.numpy())))


def check_onnx() -> None:
    """Raise `UserError` unless ONNX models can be written and run."""
    if missing := missing_packages(ONNX_PACKAGES):
        raise UserError(
            f"ONNX models need {', '.join(missing)}, which this environment lacks: install the "
            "extra, uv sync --extra onnx (or pip install 'prp[onnx]')"
        )


def missing_packages(names: Sequence[str]) -> list[str]:
    """Those of `names` that cannot be imported here."""
    return [name for name in names if importlib.util.find_spec(name) is None]


def save_layout(encoder: FrameEncoder, layout: str, name: str, path: Path) -> Parity:
    """Write the weights of the encoder called `name` as a state dict in `layout`
    (`foreign_layouts.LAYOUTS`), and compare every one with what the file holds.

    Raises `UserError` where code of that layout cannot build this encoder.
    """
    check_layout(layout, name)
    weights = {
        key: value.detach().cpu().contiguous() for key, value in encoder.state_dict().items()
    }
    torch.save(to_layout(layout, name, weights), path)
    written = torch.load(path, map_location="cpu", weights_only=True)
    back, unknown = from_layout(layout, weights, written)
    if back.keys() != weights.keys() or unknown:
        raise PrpError(f"{path} does not hold what was written: the disk may be damaged")
    differences = [(back[key].double() - value.double()).abs() for key, value in weights.items()]
    return Parity(
        f"{len(weights)} weights",
        max(float(difference.max()) for difference in differences),
        max(float(value.double().abs().max()) for value in weights.values()),
    )


def _plain(encoder: FrameEncoder) -> ClipFeature:
    """A copy on the CPU in evaluation mode, with plain strides."""
    network = ClipFeature(copy.deepcopy(encoder.encoder).cpu())
    return network.to(memory_format=torch.contiguous_format).eval()


def _clips(encoder: FrameEncoder, num_clips: int) -> torch.Tensor:
    """Clips of random numbers in [0, 1], the same each time."""
    length, crop = encoder.views.clip_length, encoder.clip.crop
    generator = torch.Generator().manual_seed(num_clips)
    return torch.rand(num_clips, 3, length, crop, crop, generator=generator)


def _any_batch() -> tuple[dict[int, torch.export.Dim]]:
    return ({0: torch.export.Dim("batch", min=1)},)


@torch.no_grad()
def _parity(encoder: FrameEncoder, theirs: Callable[[torch.Tensor], torch.Tensor]) -> Parity:
    clips_BCTHW = _clips(encoder, NUM_COMPARED)
    with strict_float32():
        ours_BD = retrieval_feature(encoder.encoder.cpu()(clips_BCTHW))
        found_BD = theirs(clips_BCTHW)
    return Parity(
        f"features of {NUM_COMPARED} random clips",
        float((ours_BD - found_BD).abs().max()),
        float(ours_BD.abs().max()),
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch's exporters tell their own developers."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
