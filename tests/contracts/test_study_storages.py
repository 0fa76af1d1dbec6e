"""Each storage of a study keeps the contract of Optuna's storages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.testing.pytest_storages import StorageTestCase

from orchestrator.search.mirrored_storage import MirroredStorage
from tests.study_databases import study_storage


@pytest.fixture(params=["sqlite", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseStorage]:
    backend = study_storage(tmp_path) if request.param == "sqlite" else InMemoryStorage()
    yield MirroredStorage(backend)
    backend.remove_session()


class TestOptunasContract(StorageTestCase):
    """Optuna's own suite for storages."""
