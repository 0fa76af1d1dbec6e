"""The file of this machine that a command writes, checked before anything is computed for it."""

from __future__ import annotations

import os
from pathlib import Path

from prp_core.errors import UserError


def output_file(text: str, option: str) -> Path:
    """The absolute path that `text`, the value of `option`, names.

    Raises `UserError` where a file cannot be written there: for a URI, a folder, a path in a folder
    that does not exist, and one to which this user has no right.
    """
    if "://" in text:
        raise UserError(f"{option} {text}: name a file of this machine")
    path = Path(text).expanduser().resolve()
    if path.is_dir():
        raise UserError(f"{option} {text} is a folder; name a file, such as {path / 'FILE'}")
    if not path.parent.is_dir():
        raise UserError(f"There is no folder {path.parent} for {option}; make it, or name another")
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"{option} {text}: the folder {path.parent} is not writable; name another")
    return path
