"""The task that measures a sweep's baselines, started while its last trials still train.

Baselines depend on no trial. As soon as no trial waits for a free place they take it, so that the
end of the sweep does not wait for them. A task that is lost meanwhile, with its node or so, is
started again at the end.
"""

from __future__ import annotations

from typing import Any

import ray

from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.sweep.end_parts import EndParts
from orchestrator.sweep.final_evaluation import measure_baselines

BASELINES = "baselines"  # the part's name


class EarlyBaselines:
    """At most one task in this process; none where an earlier start has kept its result."""

    def __init__(self, spec: SweepSpec, parts: EndParts) -> None:
        self._spec = spec
        self._parts = parts
        self._future: Any = None
        self._was_measured = False

    def begin(self) -> None:
        """Start the task unless it was started or its result is kept."""
        if self._future is None and not self._was_measured:
            self._was_measured = self._parts.found(BASELINES) is not None
            if not self._was_measured:
                self._future = measure_baselines(self._spec)

    def future(self) -> Any:
        """The task's future; it is started if it was not, and again if it has failed."""
        if self._future is None or _has_failed(self._future):
            self._future = measure_baselines(self._spec)
        return self._future


def _has_failed(future: Any) -> bool:
    """Whether the task of `future` is over without a result."""
    try:
        ray.get(future, timeout=0)
    except ray.exceptions.GetTimeoutError:  # it is under way
        return False
    except ray.exceptions.RayError:
        return True
    return False
