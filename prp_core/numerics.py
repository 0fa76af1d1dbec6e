"""The numerics of this process: the precision of float32 products, and determinism.

torch's own default computes float32 convolutions in TF32 (10 bits of mantissa) on every GPU since
Ampere. Here nothing is left to a default: training sets what its config says, evaluation computes
in strict float32 whatever training does. A CPU has no TF32, so there nothing changes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

PRODUCTS = {"float32": "ieee", "bfloat16": "ieee", "tf32": "tf32"}
"""How float32 products are computed, by ``training.precision``."""


def set_precision(precision: str) -> None:
    """Compute float32 convolutions and matrix products as `precision` (a key of `PRODUCTS`)."""
    _set_products([PRODUCTS[precision]] * len(_backends()))


@contextmanager
def strict_float32() -> Iterator[None]:
    """Strict float32, as evaluation computes, and afterwards what was set before."""
    before = [backend.fp32_precision for backend in _backends()]
    set_precision("float32")
    try:
        yield
    finally:
        _set_products(before)


def _set_products(products: Sequence[str]) -> None:
    """Set each of `_backends`. First cuDNN's older flag, which torch.export and `cudnn.flags` still
    read: they raise where it disagrees with the newer ones.
    """
    torch.backends.cudnn.allow_tf32 = products[0] == "tf32"
    for backend, value in zip(_backends(), products, strict=True):
        backend.fp32_precision = value


def _backends() -> tuple[Any, ...]:
    cudnn: Any = torch.backends.cudnn
    return cudnn.conv, cudnn.rnn, torch.backends.cuda.matmul


def set_determinism(deterministic: bool) -> None:
    """Use kernels that return the same bits each time, or the fastest ones for the shapes seen.

    For cuBLAS it has to be called before the process's first matrix product on a GPU.
    """
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # `torch.use_deterministic_algorithms` sets the same flag, and imports torch's compiler to set
    # one there: 1.9 CPU-seconds and 140 MB for each process that trains.
    torch.set_deterministic_debug_mode("error" if deterministic else "default")
    compiler: Any = sys.modules.get("torch._inductor.config")
    if compiler is not None:
        compiler.deterministic = deterministic
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = not deterministic
