"""Must rates be powers of two? Any set of two to four rates up to 8, and what to reconstruct.

    uv run python sweeps/generated_rates.py --trials 24
    uv run python sweeps/generated_rates.py --warm-start auto   # begin with what earlier ones found

The sets come from a generator, not from a list: 11 of powers of two, 154 of any whole numbers.
`rate_search.py` has a short list of sets instead.
"""

from __future__ import annotations

from typing import Any

from orchestrator.search.dimensions import suggest_generated_rate_set, suggest_upsampling
from orchestrator.sweep import main


def space(trial: Any) -> None:
    """Rate set, reconstruction rate, clip length, learning rate, and the attention's range."""
    rates = suggest_generated_rate_set(trial, sizes=(2, 3, 4), largest=8)
    suggest_upsampling(trial, rates, candidates=(1, 2, 4))
    trial.suggest_categorical("clip.length", [8, 16])
    trial.suggest_float("training.learning_rate", 3e-4, 3e-3, log=True)
    modes = ["dpau", "gauss", "none"]
    mode = trial.suggest_categorical("pretext.slow_motion.attention.mode", modes)
    if mode != "none":
        trial.suggest_float("pretext.slow_motion.attention.low", 0.2, 1.0)
        trial.suggest_float("pretext.slow_motion.attention.high", 1.0, 4.0)


if __name__ == "__main__":
    raise SystemExit(main(space))
