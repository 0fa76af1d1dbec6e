"""Does it take powers of two? Any set of two to four rates up to 8, with a reconstruction rate that
suits it.

    uv run python sweeps/generated_rates.py --trials 24
    uv run python sweeps/generated_rates.py --warm-start auto
        # begin with what earlier sweeps of this name found

The sets come from a generator, not from a list: 11 of powers of two, 154 of any whole numbers.
Start it beside `rate_search.py`, whose sets are few.
"""

from __future__ import annotations

from typing import Any

from orchestrator.search.dimensions import suggest_generated_rate_set, suggest_upsampling
from orchestrator.sweep.driver import main


def space(trial: Any) -> None:
    """Rate set, reconstruction rate, clip length, learning rate, and the range of the attention
    where there is one.
    """
    rates = suggest_generated_rate_set(trial, sizes=(2, 3, 4), largest=8)
    suggest_upsampling(trial, rates, candidates=(1, 2, 4))
    trial.suggest_categorical("clip.length", [8, 16])
    trial.suggest_float("training.learning_rate", 3e-4, 3e-3, log=True)
    if (
        trial.suggest_categorical("pretext.slow_motion.attention.mode", ["dpau", "gauss", "none"])
        != "none"
    ):
        trial.suggest_float("pretext.slow_motion.attention.low", 0.2, 1.0)
        trial.suggest_float("pretext.slow_motion.attention.high", 1.0, 4.0)


if __name__ == "__main__":
    raise SystemExit(main(space))
