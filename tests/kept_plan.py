"""Plans of sweeps that tests run without a driver's process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.search.space import Space
from orchestrator.sweep.arguments import parse_arguments
from orchestrator.sweep.claim import claim_sweep
from orchestrator.sweep.plan import Plan, make_plan


def kept_plan(words: Sequence[str], space: Space, *, sampler: Any = None) -> Plan:
    """The plan for the command line `words`, kept in its storage; its lease is given up."""
    arguments = parse_arguments(words, "test")
    with claim_sweep(arguments, space) as claim:
        plan = make_plan(claim, arguments, space, lambda line: None, sampler=sampler)
        claim.keep(plan.spec)
        return plan
