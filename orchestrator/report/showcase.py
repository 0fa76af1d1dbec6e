"""The content of a showcase: nearest neighbours of a few queries, and reconstructed clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.config.run_config import RunConfig
from prp_core.evaluation.neighbours import RetrievalExamples
from prp_core.pretext.reconstruction_sample import ReconstructionSample


@dataclass(frozen=True)
class Strip:
    """Frames of a video as JPEGs; `positions` (from 0) of its `num_frames` frames."""

    jpegs: tuple[bytes, ...]
    positions: tuple[int, ...]
    num_frames: int


@dataclass(frozen=True)
class Clip:
    """A reconstructed clip with its `rows` of one JPEG per frame.

    The rows are ``clip``, ``target``, ``output`` and, where the task has one, ``attention``.
    """

    sample: ReconstructionSample
    rows: Mapping[str, tuple[bytes, ...]]


@dataclass(frozen=True, kw_only=True)
class Showcase:
    """Everything that the page of `trial` shows.

    `strips` are by video key; `left_out` are (key, reason) of chosen videos that could not be read.
    """

    sweep_id: str
    trial: int
    values: Mapping[str, Any]
    config: RunConfig
    retrieved: RetrievalExamples
    strips: Mapping[str, Strip]
    clips: Sequence[Clip]
    left_out: tuple[tuple[str, str], ...] = ()
