"""The rate search on a corpus where no good learning rate is known: five decades of it.

    uv run python sweeps/untuned_search.py --trials 24
    uv run python sweeps/untuned_search.py --trials 24 --set sweep.sampler=random \\
        --set sweep.pruner=none     # what random search finds instead

Many learning rates of such a range teach nothing. What the search saves there, and from how many
trials on, is in docs/experiments.md.
"""

from __future__ import annotations

from typing import Any

from orchestrator.search.dimensions import suggest_rate_set
from orchestrator.sweep import main


def space(trial: Any) -> None:
    """Rate set, clip length, the balance of the two losses, and the learning rate."""
    suggest_rate_set(trial, ["1-2", "1-4", "1-2-4", "1-3-6", "1-2-4-8", "2-4-8"])
    trial.suggest_categorical("clip.length", [8, 16])
    trial.suggest_float("pretext.playback_rate.loss_weight", 0.01, 10.0, log=True)
    trial.suggest_float("training.learning_rate", 1e-5, 1e-1, log=True)


if __name__ == "__main__":
    raise SystemExit(main(space))
