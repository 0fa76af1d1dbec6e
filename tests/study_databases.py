"""SQLite databases for studies, whose tables are created once in a process."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from optuna.storages import RDBStorage


@cache
def _tables() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder, "trials.db")
        RDBStorage(f"sqlite:///{path}").engine.dispose()
        return path.read_bytes()


def study_database(folder: Path, name: str = "trials.db") -> str:
    """The URL of a database in `folder`; if there is none yet, one with Optuna's tables and no
    study. Creating the tables takes longer than what most tests write to them.
    """
    path = folder / name
    if not path.exists():
        path.write_bytes(_tables())
    return f"sqlite:///{path}"


def study_storage(folder: Path, storage: type[RDBStorage] = RDBStorage) -> RDBStorage:
    """Optuna's storage in `study_database`, opened without a look at the tables and their version,
    which takes ten times as long as all else: they are this Optuna's own.
    """
    url = study_database(folder)
    return storage(url, skip_compatibility_check=True, skip_table_creation=True)
