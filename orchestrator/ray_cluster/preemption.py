"""Ray Train's preemption notice, read on the worker at no cost."""

from __future__ import annotations

from ray.train.v2._internal.execution.context import get_train_context  # see below


def is_preempted() -> bool:
    """Whether Ray has told this worker that the machine of one of its group goes away.

    Ray's own `ray.train.get_preemption_info` is a broadcast among all workers, too dear for every
    step; what it broadcasts is read here, and the workers agree in a message of their own.
    """
    return get_train_context().preemption_context.preemption_info is not None
