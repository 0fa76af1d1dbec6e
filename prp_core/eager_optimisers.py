"""torch's optimisers without the wrappers that import torch's compiler.

The first call of any torch optimiser imports ``torch._dynamo``: `step`, `zero_grad` and three more
methods are wrapped so that a compiled optimiser breaks its graph there. Here nothing compiles an
optimiser, and the import costs more CPU time than a short trial's training.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import torch

Optimiser = TypeVar("Optimiser", bound="torch.optim.Optimizer")

METHODS = ("add_param_group", "zero_grad", "state_dict", "load_state_dict", "step")


@functools.cache
def eager(kind: type[Optimiser]) -> type[Optimiser]:
    """`kind` with the same arithmetic, state and name, whose methods import no compiler.

    A method that torch does not wrap stays as it is. Not for ``differentiable=True``: a step
    records no gradients.
    """
    import torch

    without_gradients: Any = torch.no_grad()
    methods: dict[str, Any] = {}
    for name in METHODS:
        method = getattr(kind, name)
        if getattr(method, "hooked", False):  # an optimiser of this kind was made before
            method = method.__wrapped__
        if _disables_compiler(method):
            methods[name] = method.__wrapped__
        elif _breaks_graph(method):
            methods[name] = without_gradients(method.__wrapped__)
    return type(kind.__name__, (kind,), {**methods, "__doc__": kind.__doc__})


def _disables_compiler(method: Any) -> bool:
    """Whether `method` is what ``torch._disable_dynamo`` returns."""
    import torch._compile

    return _written_in(method) == torch._compile.__file__


def _breaks_graph(method: Any) -> bool:
    """Whether `method` is a step as ``torch.optim`` wraps it."""
    from torch.optim import optimizer

    return _written_in(method) == optimizer.__file__ and method.__code__.co_name == "_use_grad"


def _written_in(method: Any) -> str | None:
    code = getattr(method, "__code__", None)
    return None if code is None or not hasattr(method, "__wrapped__") else code.co_filename
