"""What the processes beside the workers import: torch costs each of them half a gigabyte."""

from __future__ import annotations

import subprocess
import sys

MODULES = (
    "orchestrator.coordinator.coordinator",
    "orchestrator.trial.run_trials",
    "orchestrator.sweep.driver",
)


def test_the_coordinator_and_all_drivers_do_without_torch() -> None:
    look = "print({0!r}, 'torch' in sys.modules, 'ray' in sys.modules)"
    program = "\n".join(f"import {name}\n{look.format(name)}" for name in MODULES)
    command = [sys.executable, "-c", f"import sys\n{program}"]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert answer.stdout.splitlines() == [f"{name} False True" for name in MODULES], answer.stderr
