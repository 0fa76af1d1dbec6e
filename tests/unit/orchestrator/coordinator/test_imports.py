"""What the processes beside the workers import: torch costs each of them half a gigabyte."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "module",
    [
        "orchestrator.coordinator.coordinator",
        "orchestrator.trial.run_trials",
        "orchestrator.sweep.driver",
    ],
)
def test_the_coordinator_and_all_drivers_do_without_torch(module: str) -> None:
    program = f"import sys, {module}; print('torch' in sys.modules, 'ray' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert answer.stdout.split() == ["False", "True"], answer.stderr
