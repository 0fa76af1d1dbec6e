"""The layout of a prepared corpus: shards, their index and manifest, and a completion marker.

The marker is written last, so a folder or bucket that has it is complete.

shards/shard-00000-<plan>.tar        the frames
records/shard-00000-<plan>.parquet   what each task made and saw
shard-index-<hash>.parquet           where each video lies
manifest-<hash>.parquet              its videos, as any manifest
preparing.json                       what is being made
report.json                          what it took
prepared.json                      the marker
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.config.store_config import StoreConfig
from orchestrator.storage.manifest_file import read_manifest
from orchestrator.storage.shard_index_file import read_shard_index
from prp_core.data.manifest import Manifest
from prp_core.data.object_store import ObjectStore, read_all
from prp_core.data.shards.index import ShardIndex, ShardSettings
from prp_core.documents import parse_json, parse_json_object, record_from
from prp_core.errors import UserError

BEGUN = "preparing.json"
MARKER = "prepared.json"
REPORT = "report.json"
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Marker:
    """Description of a prepared corpus and of its source; equal for equal input."""

    settings: ShardSettings
    plan_hash: str
    index: str
    manifest: str
    source_uri: str
    source_manifest_hash: str
    num_shards: int
    num_videos: int
    num_frames: int
    num_bytes: int

    @property
    def words(self) -> str:
        """One-line summary."""
        settings = self.settings
        return (
            f"{settings.codec}, {settings.height} x {settings.width}, {self.num_videos} "
            f"videos in {self.num_shards} shards, from {self.source_uri}"
        )


def marker_from(tree: Mapping[str, Any]) -> Marker:
    """The marker from its JSON object. Raises `ValueError`."""
    return record_from(Marker, tree)


def write_marker(marker: Marker, store: ObjectStore) -> None:
    """Mark the place as complete."""
    store.write(
        MARKER, json.dumps({"format": FORMAT, **asdict(marker)}, indent=1, sort_keys=True).encode()
    )


def read_marker(store: ObjectStore) -> Marker | None:
    """The marker of the place; None where there is none.

    Raises `UserError` when it is of another version.
    """
    if not _holds(store, MARKER):
        return None
    try:
        tree = parse_json_object(read_all(store, MARKER))
        if tree.pop("format", None) != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        return marker_from(tree)
    except ValueError as error:
        raise UserError(
            f"{store.uri}/{MARKER} is not a marker of this version ({error}); "
            "prepare the videos again"
        ) from None


def read_prepared_manifest(
    store: ObjectStore, marker: Marker, config: StoreConfig | None
) -> Manifest:
    """The manifest of the place, with its present URI: a prepared corpus may be copied."""
    manifest = read_manifest(f"{store.uri}/{marker.manifest}", config)
    return Manifest(store.uri, manifest.records)


def read_index(store: ObjectStore, marker: Marker) -> ShardIndex:
    """The shard index of the place."""
    return read_shard_index(store, marker.index)


def check_free(store: ObjectStore, plan_hash: str) -> None:
    """Raise `UserError` unless the place is empty or holds (parts of) the plan `plan_hash`."""
    if not _holds(store, BEGUN):
        first = next(iter(store.list()), None)
        if first is not None:
            raise UserError(
                f"{store.uri} holds other objects, {first.key!r} among them; prepare "
                "into an empty place"
            )
        return
    begun = _read_begun(store)
    if begun.plan_hash != plan_hash:
        raise UserError(
            f"{store.uri} holds shards of other videos or settings (made from "
            f"{begun.source_uri}, plan {begun.plan_hash}, not {plan_hash}); "
            "a prepared place never changes: choose another one, or empty it"
        )


@dataclass(frozen=True)
class _Begun:
    """What `BEGUN` says."""

    plan_hash: str
    source_uri: str


def _read_begun(store: ObjectStore) -> _Begun:
    try:
        return record_from(_Begun, parse_json(read_all(store, BEGUN)))
    except ValueError as error:
        raise UserError(
            f"{store.uri}/{BEGUN} is damaged ({error}); empty the place and prepare the videos "
            "again"
        ) from None


def check_not_unfinished(store: ObjectStore) -> None:
    """Raise `UserError` when shards are still being made in the place, or were left half made."""
    if _holds(store, BEGUN):
        raise UserError(
            f"{store.uri} is a place whose shards are not finished; run the same 'prp "
            "data prepare' again, it goes on where it was"
        )


def check_places(source_uri: str, uri: str) -> None:
    """Raise `UserError` when one place lies within the other: shards would be read as videos."""
    source = f"{source_uri.rstrip('/')}/"
    prepared = f"{uri.rstrip('/')}/"
    if source.startswith(prepared) or prepared.startswith(source):
        raise UserError(
            f"The shards would go to {uri}, and the videos lie in {source_uri}: choose "
            "a place outside"
        )


def _holds(store: ObjectStore, key: str) -> bool:
    """Whether the object exists, by a listing.

    Without the permission to list, S3 answers a GET of a missing object with "access denied".
    """
    return any(info.key == key for info in store.list(key))
