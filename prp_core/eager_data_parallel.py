"""torch's averaging of gradients (DDP) without what imports torch's compiler.

`DistributedDataParallel` asks ``torch._dynamo`` how a compiled module divides its buckets, and
wraps its forward pass so that a compiled one breaks its graph there: both import the compiler, 2
CPU-seconds in each worker of each attempt. Here nothing is compiled.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import torch
import torch._compile
from torch import nn

COMPILER = "torch._dynamo"
# What the compiler answers where nobody has changed `torch._dynamo.config.optimize_ddp`.
USUAL_MODE = "ddp_optimizer"


def _without_compiler(method: Callable[..., Any]) -> Callable[..., Any]:
    """A context manager of a method without torch's wrapper, where it has one."""
    wrapper = getattr(method, "__wrapped__", None)
    code = getattr(wrapper, "__code__", None)
    if code is None or code.co_filename != torch._compile.__file__:
        return method
    written: Callable[..., Iterator[Any]] = wrapper.__wrapped__  # type: ignore[union-attr]
    return contextlib.contextmanager(written)


@contextlib.contextmanager
def _answers_of_the_compiler() -> Iterator[None]:
    """A context in which ``torch._dynamo`` is there for DDP's question, unless it has been
    imported.
    """
    if COMPILER in sys.modules:
        yield
        return
    name = COMPILER.rpartition(".")[2]
    stand_in = SimpleNamespace(utils=SimpleNamespace(get_optimize_ddp_mode=lambda: USUAL_MODE))
    setattr(torch, name, stand_in)
    try:
        yield
    finally:
        if vars(torch).get(name) is stand_in:  # and not the compiler, imported meanwhile
            delattr(torch, name)


class EagerDataParallel(nn.parallel.DistributedDataParallel):
    """`DistributedDataParallel` for a network that is not compiled; the same arguments."""

    def __init__(self, module: nn.Module, **options: Any) -> None:
        with _answers_of_the_compiler():
            super().__init__(module, **options)

    _inside_ddp_forward = _without_compiler(nn.parallel.DistributedDataParallel._inside_ddp_forward)
