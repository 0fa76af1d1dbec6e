"""The shard index as a Parquet file: one row per video, immutable, named by its content hash.

The record that a prepare task leaves of its one shard is such a file too; its cost and the videos
that it could not read are stored beside the rows.
"""

from __future__ import annotations

import io
import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from orchestrator.storage.parquet_table import read_table
from prp_core.data.object_store import ObjectStore, read_all
from prp_core.data.shards.index import ShardFile, ShardIndex, ShardSettings, ShardVideo
from prp_core.documents import parse_json, record_from
from prp_core.errors import ObjectExists, ObjectMissing, UserError

FORMAT_KEY = b"prp.shards.format"
FORMAT = b"1"
FACTS_KEY = b"prp.shards.facts"
SCHEMA = pyarrow.schema(
    [
        pyarrow.field("key", pyarrow.string(), nullable=False),
        pyarrow.field("shard", pyarrow.int32(), nullable=False),
        pyarrow.field("offset", pyarrow.int64(), nullable=False),
        pyarrow.field("header_bytes", pyarrow.int32(), nullable=False),
        pyarrow.field("num_frames", pyarrow.int64(), nullable=False),
        pyarrow.field("sha256", pyarrow.string(), nullable=False),
        pyarrow.field("source_num_bytes", pyarrow.int64(), nullable=False),
        pyarrow.field("source_etag", pyarrow.string(), nullable=False),
        pyarrow.field("source_sha256", pyarrow.string(), nullable=False),
        pyarrow.field("sizes", pyarrow.list_(pyarrow.uint32()), nullable=False),
        pyarrow.field("crc32s", pyarrow.list_(pyarrow.uint32()), nullable=False),
    ]
)
LISTS = ("sizes", "crc32s")
ADVICE = "prepare the videos again"


@dataclass(frozen=True)
class _Facts:
    """What the file's metadata holds as JSON."""

    settings: ShardSettings
    files: tuple[ShardFile, ...]
    extra: Mapping[str, Any]


def index_name(index: ShardIndex) -> str:
    """``shard-index-<content hash>.parquet``."""
    return f"shard-index-{index.content_hash}.parquet"


def write_shard_index(index: ShardIndex, store: ObjectStore) -> str:
    """Store the index in `store` unless it is there already; its name."""
    name = index_name(index)
    try:
        store.write(name, index_to_parquet(index), if_absent=True)
    except ObjectExists:
        read_shard_index(store, name)  # raises when what is there is something else
    return name


def read_shard_index(store: ObjectStore, name: str) -> ShardIndex:
    """The index called `name`.

    Raises `UserError` when there is none, or when its content does not match the hash in its name.
    """
    uri = f"{store.uri}/{name}"
    try:
        index, _ = index_from_parquet(read_all(store, name), uri)
    except ObjectMissing:
        raise UserError(
            f"{uri} is not there; copy the prepared place again, whole, or prepare the videos again"
        ) from None
    promised = re.search(r"shard-index-([0-9a-f]{16})\.parquet$", name)
    if promised is None or promised[1] != index.content_hash:
        raise UserError(
            f"{uri} was changed: its content hash is {index.content_hash}; prepare the videos again"
        )
    return index


def index_to_parquet(index: ShardIndex, extra: Mapping[str, Any] | None = None) -> bytes:
    """The index as bytes of a Parquet file; `extra` (JSON values) is stored beside the rows."""
    videos = [index.videos[key] for key in sorted(index.videos)]
    columns = {
        field.name: [getattr(video, field.name) for video in videos]
        for field in SCHEMA
        if field.name not in LISTS
    }
    lists = {name: _to_lists([getattr(video, name) for video in videos]) for name in LISTS}
    facts = {
        "settings": asdict(index.settings),
        "files": [asdict(file) for file in index.files],
        "extra": dict(extra or {}),
    }
    schema = SCHEMA.with_metadata(
        {FORMAT_KEY: FORMAT, FACTS_KEY: json.dumps(facts, sort_keys=True).encode()}
    )
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(
        pyarrow.table({**columns, **lists}, schema=schema), buffer, compression="zstd"
    )
    return buffer.getvalue()


def index_from_parquet(data: bytes, uri: str) -> tuple[ShardIndex, dict[str, Any]]:
    """(the index, the extra values) of a Parquet file's bytes.

    Raises `UserError`, which names `uri`, for any other file.
    """
    what = f"{uri} is not an index of shards"
    table = read_table(data, SCHEMA, {FORMAT_KEY: FORMAT}, what=what, advice=ADVICE)
    plain = table.drop_columns(list(LISTS)).to_pylist()
    sizes, crc32s = (_from_lists(table[name]) for name in LISTS)
    videos = [
        ShardVideo(**row, sizes=sizes[number], crc32s=crc32s[number])
        for number, row in enumerate(plain)
    ]
    try:
        facts = record_from(_Facts, parse_json(table.schema.metadata[FACTS_KEY]))
        index = ShardIndex(facts.settings, facts.files, {video.key: video for video in videos})
        index.check()
    except (KeyError, ValueError) as error:
        raise UserError(f"{what}: {error}; {ADVICE}") from error
    return index, dict(facts.extra)


def _to_lists(arrays: list[np.ndarray]) -> Any:
    ends = np.cumsum([0, *map(len, arrays)], dtype=np.int64)
    if ends[-1] >= 1 << 31:
        raise UserError(
            f"{ends[-1]} frames are too many for one prepared place; prepare the corpus in parts"
        )
    flat = np.concatenate(arrays) if arrays else np.empty(0, dtype=np.uint32)
    return pyarrow.ListArray.from_arrays(
        pyarrow.array(ends.astype(np.int32)), pyarrow.array(flat.astype(np.uint32))
    )


def _from_lists(column: Any) -> list[np.ndarray]:
    """The rows of a list column, as views of one array."""
    whole = (
        pyarrow.concat_arrays(column.chunks)
        if column.num_chunks
        else pyarrow.array([], column.type)
    )
    ends = whole.offsets.to_numpy()
    flat = whole.values.to_numpy()
    return [flat[first:end] for first, end in itertools.pairwise(ends)]
