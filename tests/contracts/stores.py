"""The stores that hold a sweep: a folder, and a prefix of a bucket on a real S3 server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.storage.open_store import open_store
from prp_core.data.object_store import LocalStore, ObjectStore

MakeStore = Callable[[pytest.FixtureRequest, Path], ObjectStore]


def _folder(request: pytest.FixtureRequest, folder: Path) -> ObjectStore:
    return LocalStore(folder / "storage" / "sweeps" / "one", is_private=True)


def _bucket(request: pytest.FixtureRequest, folder: Path) -> ObjectStore:
    return open_store(f"s3://{request.getfixturevalue('s3_bucket')}/sweeps/one")


SWEEP_STORES: dict[str, MakeStore] = {"folder": _folder, "bucket": _bucket}
