"""A study as a user writes one, at the smallest size.

    python tests/e2e/tiny_study.py --preset tests/e2e/tiny.toml --data FOLDER

The environment can make it misbehave on purpose: ``PRP_TEST_DIVERGE=2`` gives trial 2 a learning
rate that no loss survives, and ``PRP_TEST_SLOW=1`` makes the first trial long enough to be
interrupted (``PRP_TEST_SLOW=9`` the first 9): ``PRP_TEST_SLOW_EPOCHS``, or 24, epochs.
"""

from __future__ import annotations

import os
from typing import Any

from orchestrator.sweep import main


def space(trial: Any) -> None:
    """Two dimensions and, where a test asks for it, a way to fail."""
    trial.suggest_categorical("pretext.playback_rate.rates", ["1-2", "1-3", "2-3"])
    trial.suggest_float("pretext.playback_rate.loss_weight", 0.01, 10.0, log=True)
    if os.environ.get("PRP_TEST_DIVERGE") == str(trial.number):
        trial.suggest_float("training.learning_rate", 1e30, 1e30)
    if trial.number < int(os.environ.get("PRP_TEST_SLOW") or 0):
        epochs = int(os.environ.get("PRP_TEST_SLOW_EPOCHS") or 24)
        trial.suggest_int("training.num_epochs", epochs, epochs)


if __name__ == "__main__":
    raise SystemExit(main(space))
