"""Which playback rates, how long a clip, and what weight on rate prediction?

    uv run python sweeps/rate_search.py             # the demo: makes its videos, needs nothing else
    ray job submit --working-dir . -- \\
        python sweeps/rate_search.py --preset ucf101_r3d --data s3://bucket/ucf101 ...

`space` runs once for each trial; a name is a path in the config tree, and what is not suggested
keeps the preset's value.
"""

from __future__ import annotations

from typing import Any

from orchestrator.search.dimensions import suggest_rate_set
from orchestrator.sweep import main


def space(trial: Any) -> None:
    """Rate set, clip length, the balance of the two losses, and what depends on them."""
    suggest_rate_set(trial, ["1-2", "1-4", "1-2-4", "1-3-6", "1-2-4-8", "2-4-8"])
    trial.suggest_categorical("clip.length", [8, 16])
    rate_weight = trial.suggest_float("pretext.playback_rate.loss_weight", 0.01, 1.0, log=True)
    mode = trial.suggest_categorical("pretext.slow_motion.attention.mode", ["dpau", "none"])
    if mode == "dpau":  # without attention there is no range for its weights
        trial.suggest_float("pretext.slow_motion.attention.high", 1.0, 4.0)
    if rate_weight >= 0.1:  # below, the classifier hardly teaches: its own rate changes nothing
        trial.suggest_categorical("training.classifier_learning_rate_multiplier", [1.0, 10.0])


if __name__ == "__main__":
    raise SystemExit(main(space))
