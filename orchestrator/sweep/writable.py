"""Checks that the home and a local storage can be written, before anything is put into them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from orchestrator.config.sweep_spec import home_dir
from prp_core.errors import UserError


def check_home() -> None:
    """Raise `UserError` where this machine's cache cannot be written.

    Where the user's own home cannot, matplotlib is given a folder in the cache for its list of
    fonts: else it warns of it on the terminal, and makes the list anew each time.
    """
    home = home_dir()
    if problem := why_not_writable(home):
        raise UserError(f"{home} cannot be written: {problem}; set PRP_HOME to another folder")
    if why_not_writable(Path("~/.config").expanduser()):
        os.environ.setdefault("MPLCONFIGDIR", str(home / "matplotlib"))


def check_storage(storage_uri: str) -> None:
    """Raise `UserError` where a storage that is a folder cannot be written; a bucket is not asked
    here.
    """
    if "://" in storage_uri:
        return
    if problem := why_not_writable(Path(storage_uri)):
        raise UserError(
            f"The storage {storage_uri} cannot be written: {problem}; choose another --storage"
        )


def why_not_writable(folder: Path) -> str:
    """Why `folder`, which need not be there, cannot be written; empty where it can.

    A file without a name is made in the folder, or in the nearest one above it that is there.
    """
    nearest = folder
    try:
        while not nearest.exists():
            nearest = nearest.parent
        if not nearest.is_dir():
            return f"{nearest} is no folder"
        with tempfile.TemporaryFile(dir=nearest):
            return ""
    except OSError as error:
        return f"{nearest}: {error.strerror or error}"
