"""Which shortcuts does the encoder take? Rate, colour and sharpness, each varied at random or not.

    uv run python sweeps/shortcuts.py --trials 24
    uv run python sweeps/shortcuts.py --preset ucf101_r3d --data s3://bucket/ucf101 ...

A clip can give its rate away without showing how things move: by the exact distance of its frames,
by colours that drift, by what a codec leaves in the pixels. Each augmentation takes one such cue
away, and the retrieval metric says whether the encoder learns more or less without it. 0 is off.
"""

from __future__ import annotations

from typing import Any

from orchestrator.sweep import main


def space(trial: Any) -> None:
    """The strength of each augmentation, and what matters only where it is on."""
    trial.suggest_float("clip.augmentation.rate_jitter.strength", 0.0, 0.3, step=0.1)
    colour = trial.suggest_float("clip.augmentation.colour_jitter.strength", 0.0, 1.0, step=0.25)
    if colour > 0:  # one change for a whole clip, or another one for each frame of the input
        trial.suggest_categorical("clip.augmentation.colour_jitter.per_frame", [False, True])
    trial.suggest_float("clip.augmentation.greyscale.probability", 0.0, 0.5, step=0.25)
    blur = trial.suggest_float("clip.augmentation.blur.probability", 0.0, 0.5, step=0.25)
    if blur > 0:
        trial.suggest_float("clip.augmentation.blur.max_sigma", 0.5, 2.0)


if __name__ == "__main__":
    raise SystemExit(main(space))
