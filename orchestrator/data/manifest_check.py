"""Comparison of a manifest with its store: are the objects still those that were indexed?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from prp_core.data.manifest import Manifest
from prp_core.data.object_store import ObjectInfo, ObjectStore
from prp_core.errors import UserError


@dataclass(frozen=True)
class Differences:
    """The keys of usable videos whose object has changed or is missing."""

    changed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changed or self.missing)

    def __str__(self) -> str:
        words = [
            f"{len(keys)} {word} ({keys[0]!r} among them)"
            for word, keys in (("changed", self.changed), ("gone", self.missing))
            if keys
        ]
        return " and ".join(words)


def differences(manifest: Manifest, listed: Iterable[ObjectInfo]) -> Differences:
    """How the `listed` objects differ from the manifest's usable videos, by etag and size."""
    there = {info.key: (info.num_bytes, info.etag) for info in listed}
    named = [(record.key, (record.num_bytes, record.etag)) for record in manifest.usable()]
    changed = tuple(key for key, identity in named if key in there and there[key] != identity)
    return Differences(changed, tuple(key for key, _ in named if key not in there))


def check_unchanged(manifest: Manifest, manifest_uri: str, store: ObjectStore) -> None:
    """Raise `UserError` when an object is no longer the one that was indexed.

    Lists the store once; reads nothing.
    """
    found = differences(manifest, store.list())
    if found:
        raise UserError(
            f"{store.uri} is no longer what {manifest_uri} says: of "
            f"{len(manifest.usable())} videos {found} since they were indexed; "
            "index again (prp data index) and use the new manifest, or put the objects back"
        )
