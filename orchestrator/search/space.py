"""Search spaces: how sampled values become a config, and whether it can be trained at all.

A space is a function of Optuna's `trial` that suggests values under names that are dotted paths of
the config tree; it may branch on the values that it drew, and on nothing else. A rate set is
suggested as text (``"1-2-4-8"``): tuples do not survive in a database. `dimensions.py` says what an
``@`` in a name means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from orchestrator.config.run_config import RunConfig, with_values
from orchestrator.search.dimensions import config_values
from prp_core.errors import UserError

Space = Callable[[Any], None]


@dataclass(frozen=True)
class Fit:
    """Whether a config can be trained on a corpus; `reason` says why not, with the numbers."""

    ok: bool
    reason: str


def apply_space(base: RunConfig, sampled: Mapping[str, Any]) -> RunConfig:
    """The config `base` with a trial's sampled values in place.

    Raises `UserError` when a name is no path of the tree or a value is refused.
    """
    try:
        return with_values(base, config_values(sampled))
    except UserError as error:
        raise UserError(
            f"The search space suggested something the config refuses: {error}"
        ) from None


def fits_corpus(config: RunConfig, frame_counts: tuple[int, ...]) -> Fit:
    """Whether enough training videos, of `frame_counts` frames, are long enough for each rate of
    `config`.
    """
    clip = config.clip
    rates = config.pretext.playback_rate.rate_list
    if overlap := clip.augmentation.rate_jitter.overlap(rates):
        return Fit(False, f"clip.augmentation.rate_jitter.strength is too large: {overlap}")
    if clip.short_videos == "loop":
        return Fit(True, "")
    for rate in rates[:1] if clip.short_videos == "max-rate" else rates:
        long_enough = sum(count >= clip.frames_needed(rate) for count in frame_counts)
        share = long_enough / max(1, len(frame_counts))
        if share < config.sweep.min_eligible_fraction or long_enough < 1:
            needed = f"sweep.min_eligible_fraction = {config.sweep.min_eligible_fraction}"
            return Fit(
                False,
                f"rate {rate} with clip.length {clip.length} fits {long_enough} of "
                f"{len(frame_counts)} videos, less than {needed}",
            )
    return Fit(True, "")


class MemoryFigures(Protocol):
    """The protocol of `prp_core.training.memory.NetworkMemory`, here so that nobody has to load
    torch for it.
    """

    def worker_bytes(self, *, num_clips: int, length: int, crop: int, upsampling: int) -> float:
        """A lower bound of the bytes that a training step needs on one worker."""
        ...


def fits_memory(config: RunConfig, table: Mapping[str, MemoryFigures]) -> Fit:
    """Whether a training step of `config` fits ``resources.worker_memory_gib``.

    `table` holds the figures of every encoder; where memory is not known, everything fits. The
    estimate is a lower bound (in float32), so what is refused would not have run.
    """
    limit = config.resources.worker_memory_gib
    if not limit or config.encoder.name not in table or config.training.recompute:
        return Fit(True, "")
    needed, what = step_gib(config, table)
    if needed <= limit:
        return Fit(True, "")
    return Fit(
        False,
        f"{what} need at least {needed:.1f} GiB, more than resources.worker_memory_gib = {limit:g}",
    )


def step_gib(config: RunConfig, table: Mapping[str, MemoryFigures]) -> tuple[float, str]:
    """(the least GiB that a training step of `config` needs on one worker, what it is a step on).

    `table` has the figures of the encoder. Not for ``training.recompute``, which needs less.
    """
    training = config.training
    clips = training.batch_size // config.resources.num_workers
    clips = min(clips, training.micro_batch_size or clips)
    share = 0.5 if training.precision == "bfloat16" else 1.0
    clip = config.clip
    slow_motion = config.pretext.slow_motion
    upsampling = slow_motion.upsampling if slow_motion.loss_weight else 0
    needed = (
        share
        * table[config.encoder.name].worker_bytes(
            num_clips=clips, length=clip.length, crop=clip.crop, upsampling=upsampling
        )
        / 2**30
    )
    decoder = f"with upsampling {upsampling}" if upsampling else "without a decoder"
    return needed, (
        f"{clips} clips of {clip.length} frames of {clip.crop} x {clip.crop} {decoder} on "
        f"{config.encoder.name}"
    )


@dataclass(frozen=True)
class TrialLimits:
    """What every trial has to fit: the corpus and the workers' memory.

    `frame_counts` are the lengths of the training videos in frames, `memory` the figures of every
    encoder by name (empty: unknown, everything fits).
    """

    frame_counts: tuple[int, ...]
    memory: Mapping[str, MemoryFigures] = field(default_factory=dict)

    def fits(self, config: RunConfig) -> Fit:
        """Whether a trial with `config` can be trained; otherwise the first reason why not."""
        fit = fits_corpus(config, self.frame_counts)
        return fit if not fit.ok else fits_memory(config, self.memory)
