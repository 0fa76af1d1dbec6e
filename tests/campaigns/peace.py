"""Records of an undisturbed sweep, which a campaign may keep for its next run."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

from tests.sweep_check import Records

FOLDER = "PRP_PEACE"


def kept_records(name: str, run: Callable[[], Records]) -> Records:
    """What `run` returns; with the environment's ``PRP_PEACE=FOLDER``, that of an earlier run from
    the folder's file `name`.
    """
    folder = os.environ.get(FOLDER)
    if not folder:
        return run()
    path = Path(folder) / f"{name}.pickle"
    if path.exists():
        records: Records = pickle.loads(path.read_bytes())  # noqa: S301
        return records
    records = run()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(records))
    return records
