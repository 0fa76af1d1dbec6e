"""Locks between processes on open files."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from prp_core.data import file_lock


def test_one_holds_a_file_alone_or_several_share_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    with path.open("rb") as one, path.open("rb") as two, path.open("rb") as three:
        file_lock.lock_file(one)
        assert not file_lock.try_lock(two)
        file_lock.lock_shared(one)
        file_lock.lock_shared(two)
        assert not file_lock.try_lock(three)
        file_lock.unlock(two)
        assert not file_lock.try_lock(three)
        one.close()
        assert file_lock.try_lock(three)


def test_a_system_without_locks_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_lock, "fcntl", None)
    file_lock._is_offered.cache_clear()
    try:
        with (tmp_path / "file").open("w") as one, (tmp_path / "file").open("w") as two:
            with pytest.warns(UserWarning, match="one process at a time"):
                assert file_lock.try_lock(one)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                assert file_lock.try_lock(two)
                file_lock.lock_shared(two)
                file_lock.unlock(two)
    finally:
        file_lock._is_offered.cache_clear()
