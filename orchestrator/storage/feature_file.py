"""A feature table as a Parquet file: a row for each video, and what it was made by in its metadata.

Columns: ``key``, ``label``, ``group``, ``split``, ``num_frames``, ``sha256`` of the video and
``feature``, a list of D float32 numbers. It is written and read in row groups, so that a table
larger than memory can be made and searched.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from orchestrator.config.typed_command import prp
from orchestrator.storage.parquet_table import DAMAGE
from prp_core.data.manifest import VideoRecord
from prp_core.errors import UserError

FORMAT_KEY = b"prp.features.format"
FORMAT = b"1"
ABOUT_KEY = b"prp.features.about"
TEXTS = ("key", "label", "group", "split", "sha256")


@dataclass(frozen=True)
class FeatureHeader:
    """What a table says of itself: its rows, the length of a feature, and how it was made."""

    num_videos: int
    dimension: int
    about: Mapping[str, Any]


class FeatureFileWriter:
    """Writes a table at `path`, row group by row group; the file is not whole before `close`."""

    def __init__(self, path: Path, dimension: int, about: Mapping[str, Any]) -> None:
        self._schema = pyarrow.schema(
            [
                *(pyarrow.field(name, pyarrow.string()) for name in TEXTS),
                pyarrow.field("num_frames", pyarrow.int64()),
                pyarrow.field("feature", pyarrow.list_(pyarrow.float32(), dimension)),
            ],
            metadata={FORMAT_KEY: FORMAT, ABOUT_KEY: json.dumps(about, sort_keys=True).encode()},
        )
        self._writer = pyarrow.parquet.ParquetWriter(path, self._schema, compression="zstd")

    def add(self, records: Sequence[VideoRecord], features_ND: np.ndarray) -> None:
        """Add a row for each record; `features_ND` is float32 (records, dimension)."""
        assert features_ND.dtype == np.float32 and len(features_ND) == len(records)
        columns = {name: [getattr(record, name) for record in records] for name in TEXTS}
        flat = pyarrow.array(features_ND.reshape(-1), pyarrow.float32())
        dimension = features_ND.shape[1]
        table = pyarrow.table(
            {
                **columns,
                "num_frames": [record.num_frames for record in records],
                "feature": pyarrow.FixedSizeListArray.from_arrays(flat, dimension),
            },
            schema=self._schema,
        )
        self._writer.write_table(table)

    def close(self) -> None:
        """Write the end of the file."""
        self._writer.close()


def read_header(path: Path) -> FeatureHeader:
    """The header of the table at `path`. Raises `UserError` where there is none."""
    if not path.is_file():
        raise UserError(f"There is no table of features at {path}; make one with {prp('embed')}")
    try:
        file = pyarrow.parquet.ParquetFile(path)
        metadata = file.schema_arrow.metadata or {}
        if metadata.get(FORMAT_KEY) != FORMAT:
            raise UserError(
                f"{path} is not a table of features of this version; {prp('embed')} makes them"
            )
        dimension = file.schema_arrow.field("feature").type.list_size
        return FeatureHeader(file.metadata.num_rows, dimension, json.loads(metadata[ABOUT_KEY]))
    except UserError:
        raise
    except DAMAGE as error:
        words = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{path} is not a table of features: {words[:200]}") from error


def read_rows(path: Path) -> Iterator[tuple[list[dict[str, Any]], np.ndarray]]:
    """(the facts of the videos, their features (N, D) float32) of each row group, in order."""
    file = pyarrow.parquet.ParquetFile(path)
    for number in range(file.num_row_groups):
        table = file.read_row_group(number)
        flat = table["feature"].combine_chunks().flatten().to_numpy()
        facts = table.drop_columns("feature").to_pylist()
        yield facts, flat.reshape(len(facts), -1)
