"""`main`: the entry point of a study, which parses its command line before it imports the rest."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from orchestrator.config.typed_command import study_program
from orchestrator.exit_codes import run_command
from orchestrator.sweep.arguments import parse_arguments

if TYPE_CHECKING:
    from orchestrator.search.samplers import GivenSampler
    from orchestrator.search.space import Space


def main(
    space: Space,
    argv: Sequence[str] | None = None,
    *,
    sampler: GivenSampler | Callable[[], GivenSampler] | None = None,
) -> int:
    """Run the study that searches `space`, with the arguments `argv` (None: of this process).

    `sampler` draws the values instead of the one that ``sweep.sampler`` names: any of Optuna's, or
    one with the `Sampler` protocol, or a function that makes it (so that ``--help`` need not import
    Optuna).

    The exit code: 0 the sweep ended with a winner, 1 it ended without one, 2 the input was wrong
    (one line says how), 3 another driver runs the sweep, 130 it was interrupted and resumes with
    ``--resume``.
    """
    return run_command(lambda: _run(space, argv, sampler), study_program(sys.argv[0]))


def _run(
    space: Space,
    argv: Sequence[str] | None,
    sampler: GivenSampler | Callable[[], GivenSampler] | None,
) -> int:
    arguments = parse_arguments(argv, description_of(space))
    from orchestrator.ray_cluster.cluster_address import check_address
    from orchestrator.sweep.claim import claim_sweep
    from orchestrator.sweep.notification import hook_url

    hook_url(arguments.notify)  # a wrong one is refused now, not at the end
    check_address(arguments.address or os.environ.get("RAY_ADDRESS", ""))
    with claim_sweep(arguments, space) as claim:
        from orchestrator.sweep.driver import drive  # Ray, Optuna, PyTorch: seconds

        return drive(claim, arguments, space, sampler() if callable(sampler) else sampler)


def description_of(space: Space) -> str:
    """The first sentence of the docstring of the file that `space` is written in."""
    docstring = getattr(sys.modules.get(space.__module__), "__doc__", None) or ""
    return docstring.strip().partition("\n\n")[0].replace("\n", " ")
