"""A manifest survives its file, and a file that is not what its name says is refused."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from orchestrator.storage.manifest_file import (
    SCHEMA,
    is_manifest_uri,
    manifest_name,
    read_manifest,
    write_manifest,
)
from orchestrator.storage.open_store import open_store
from prp_core.data.manifest import Manifest, VideoRecord
from prp_core.errors import UserError

GOOD = VideoRecord(
    key="Bäder/v_Box_g01_c01.avi",
    num_bytes=1 << 33,
    etag="e1",
    sha256="ab" * 32,
    num_frames=164,
    fps=30000 / 1001,
    width=320,
    height=240,
    codec="mpeg4",
    label="Boxing",
    group="g01",
    split="train",
)
BROKEN = VideoRecord(
    key="clips/notes.mp4",
    num_bytes=12,
    etag="e2",
    reason="not-a-video",
    detail="it begins with b'#EXTM3U'",
)
MANIFEST = Manifest("s3://bucket/ucf", (GOOD, BROKEN))


def test_the_schema_has_a_column_for_each_field() -> None:
    assert SCHEMA.names == [field.name for field in fields(VideoRecord)]


def test_round_trip(tmp_path: Path) -> None:
    uri = write_manifest(MANIFEST, open_store(tmp_path))
    assert uri == f"{tmp_path.as_uri()}/manifest-{MANIFEST.content_hash}.parquet"
    assert read_manifest(uri) == MANIFEST
    assert read_manifest(tmp_path / manifest_name(MANIFEST)) == MANIFEST
    assert is_manifest_uri(uri)
    assert not is_manifest_uri("s3://bucket/ucf")


def test_writing_twice_leaves_one_file_untouched(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    write_manifest(MANIFEST, store)
    before = list(store.list())
    assert write_manifest(MANIFEST, store).endswith(manifest_name(MANIFEST))
    assert list(store.list()) == before


def test_a_damaged_file_is_refused_and_replaced_by_the_next_write(tmp_path: Path) -> None:
    path = tmp_path / manifest_name(MANIFEST)
    other = Manifest(MANIFEST.uri, (replace(GOOD, num_frames=163), BROKEN))
    write_manifest(other, open_store(tmp_path))
    (tmp_path / manifest_name(other)).rename(path)
    with pytest.raises(UserError, match=f"was changed: its content hash is {other.content_hash}"):
        read_manifest(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="is not a manifest: .*; make one with: .* data index URI"):
        read_manifest(path)
    write_manifest(MANIFEST, open_store(tmp_path))
    assert read_manifest(path) == MANIFEST


def test_files_that_are_no_manifests(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"There is no manifest at .*none\.parquet; make one with"):
        read_manifest(tmp_path / "none.parquet")
    pyarrow.parquet.write_table(pyarrow.table({"key": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(
        UserError, match="is not a manifest of this version, but another Parquet file"
    ):
        read_manifest(tmp_path / "other.parquet")
