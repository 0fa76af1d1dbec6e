"""New processes that have torch imported, forked from a server that did nothing else.

A process that starts from nothing spends more time on these imports than on its work.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Mapping
from multiprocessing.context import ForkServerContext
from typing import Any

PRELOADED = ["torch", "torch.distributed", "prp_core.training.loop"]


def warm_context(*also: str) -> ForkServerContext:
    """What `multiprocessing` offers, with processes that are forked from the server. Modules of
    `also` are imported there too, if this test process asks for the first one.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOADED, *also])
    return context


def in_environment(
    environment: Mapping[str, str], work: Callable[..., Any], *arguments: Any
) -> Any:
    """``work(*arguments)`` in `environment`: a forked process has the one that its server was
    started with.
    """
    os.environ.clear()
    os.environ.update(environment)
    return work(*arguments)
