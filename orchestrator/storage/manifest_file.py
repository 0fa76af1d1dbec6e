"""A manifest as a Parquet file in a store: immutable, named by its content hash."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pyarrow
import pyarrow.parquet

from orchestrator.config.store_config import StoreConfig
from orchestrator.config.typed_command import prp
from orchestrator.storage.open_store import open_store, split_object_uri
from orchestrator.storage.parquet_table import read_table
from prp_core.data.manifest import Manifest, VideoRecord
from prp_core.data.object_store import ObjectStore, read_all
from prp_core.errors import ObjectExists, ObjectMissing, UserError

SUFFIX = ".parquet"
FORMAT_KEY = b"prp.manifest.format"
FORMAT = b"1"
URI_KEY = b"prp.manifest.uri"
SCHEMA = pyarrow.schema(
    [
        pyarrow.field("key", pyarrow.string(), nullable=False),
        pyarrow.field("num_bytes", pyarrow.int64(), nullable=False),
        pyarrow.field("etag", pyarrow.string(), nullable=False),
        pyarrow.field("sha256", pyarrow.string(), nullable=False),
        pyarrow.field("num_frames", pyarrow.int64(), nullable=False),
        pyarrow.field("fps", pyarrow.float64(), nullable=False),
        pyarrow.field("width", pyarrow.int32(), nullable=False),
        pyarrow.field("height", pyarrow.int32(), nullable=False),
        pyarrow.field("codec", pyarrow.string(), nullable=False),
        pyarrow.field("label", pyarrow.string()),
        pyarrow.field("group", pyarrow.string(), nullable=False),
        pyarrow.field("split", pyarrow.string(), nullable=False),
        pyarrow.field("reason", pyarrow.string(), nullable=False),
        pyarrow.field("detail", pyarrow.string(), nullable=False),
    ]
)


def manifest_name(manifest: Manifest) -> str:
    """``manifest-<content hash>.parquet``."""
    return f"manifest-{manifest.content_hash}{SUFFIX}"


def write_manifest(manifest: Manifest, store: ObjectStore) -> str:
    """Store the manifest in `store` unless it is there already; its URI.

    A damaged file of that name is replaced.
    """
    name = manifest_name(manifest)
    uri = f"{store.uri}/{name}"
    try:
        store.write(name, _to_parquet(manifest), if_absent=True)
    except ObjectExists:
        try:
            _from_parquet(read_all(store, name), uri)
        except UserError:
            store.write(name, _to_parquet(manifest))
    return uri


def read_manifest(uri: str | Path, config: StoreConfig | None = None) -> Manifest:
    """The manifest at `uri`: ``s3://...``, ``file:///...`` or a path.

    Raises `UserError` when there is none, or when its content does not match the hash in its name.
    """
    place, name = split_object_uri(uri)
    try:
        data = read_all(open_store(place, config), name)
    except ObjectMissing:
        raise UserError(
            f"There is no manifest at {uri}; make one with: {prp('data index URI')}"
        ) from None
    return _from_parquet(data, str(uri))


def is_manifest_uri(uri: str | Path) -> bool:
    """Whether `uri` names a manifest file rather than a folder or bucket, by its suffix."""
    return str(uri).endswith(SUFFIX)


def _to_parquet(manifest: Manifest) -> bytes:
    columns = {
        field.name: [getattr(record, field.name) for record in manifest.records] for field in SCHEMA
    }
    schema = SCHEMA.with_metadata({FORMAT_KEY: FORMAT, URI_KEY: manifest.uri.encode()})
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns, schema=schema), buffer, compression="zstd")
    return buffer.getvalue()


def _from_parquet(data: bytes, uri: str) -> Manifest:
    advice = f"make one with: {prp('data index URI')}"
    table = read_table(
        data, SCHEMA, {FORMAT_KEY: FORMAT}, what=f"{uri} is not a manifest", advice=advice
    )
    try:
        manifest = Manifest(
            table.schema.metadata[URI_KEY].decode(),
            tuple(VideoRecord(**row) for row in table.to_pylist()),
        )
    except (KeyError, ValueError) as error:
        raise UserError(f"{uri} is not a manifest: {error}; {advice}") from error
    promised = re.search(rf"manifest-([0-9a-f]{{16}}){re.escape(SUFFIX)}$", uri)
    if promised and promised[1] != manifest.content_hash:
        raise UserError(
            f"{uri} was changed: its content hash is {manifest.content_hash}; manifests "
            "are immutable, index again"
        )
    return manifest
