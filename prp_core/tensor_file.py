"""Reading of torch's file format without running what a file may hold; damage is a `ValueError`."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

import torch


def load_tensors(file: IO[bytes] | Path) -> Any:
    """What `torch.save` wrote to `file`, on the CPU.

    Raises `ValueError` for anything else that lies there; torch's unpickler has some fifteen
    classes of errors for it.
    """
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        words = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"no file of tensors ({words[:200]})") from error
