"""The table of an embedding run: its pieces joined into one Parquet file, one piece in memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.downstream.feature_job import ENCODER, facts_of
from orchestrator.downstream.feature_run import FeatureRun
from orchestrator.storage.feature_file import FeatureFileWriter, read_header
from prp_core.errors import UserError


def is_made(path: Path, digest: str) -> bool:
    """Whether the table at `path` is that of the run called `digest`.

    Raises `UserError` where something else lies there.
    """
    return path.exists() and read_header(path).about.get("digest") == digest


def write_table(run: FeatureRun, path: Path, about: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Write the encoder's features of every piece of `run` to `path`, whole or not at all; returns
    (key, reason) of the videos without a row. Raises `UserError` where no video has one.
    """
    records = {record.key: record for record in run.records}
    beside = path.with_name(f".{path.name}.unfinished")
    broken: list[tuple[str, str]] = []
    writer: FeatureFileWriter | None = None
    described = {**facts_of(run.job), **about, "digest": run.digest}
    try:
        for piece in run.read():
            broken += piece.broken
            if not piece.keys:
                continue
            features_ND = np.ascontiguousarray(piece.features[ENCODER], dtype=np.float32)
            writer = writer or FeatureFileWriter(beside, features_ND.shape[1], described)
            writer.add([records[key] for key in piece.keys], features_ND)
        if writer is None:
            key, reason = broken[0]
            raise UserError(
                f"None of the {len(records)} videos could be read, the first: {key}: {reason}"
            )
        writer.close()
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return broken
