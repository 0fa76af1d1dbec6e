"""Augmentations of training clips, one file each; all are off by default and in the presets.

Every one is there to take a shortcut away from a playback-rate task: cues that tell the rate
without understanding motion. `rate_jitter` varies the rate itself, by choosing other frames.
`colour_jitter`, `greyscale` and `blur` change pixels; `augmentation` is the protocol that they
follow, and `batches` applies them to whole batches on the device. All draws are pure functions of
(seed, epoch, index), like those of the samples. Evaluation and fine-tuning use none of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

from prp_core.data.augmentation.augmentation import Augmentation
from prp_core.data.augmentation.blur import Blur
from prp_core.data.augmentation.colour_jitter import ColourJitter
from prp_core.data.augmentation.greyscale import Greyscale
from prp_core.data.augmentation.rate_jitter import RateJitter


@dataclass(frozen=True, kw_only=True)
class AugmentationConfig:
    """The catalogue of augmentations; those that change pixels are applied in this order."""

    rate_jitter: RateJitter = field(default_factory=RateJitter)
    """Varies the playback rate of a clip around its label; changes which frames are read."""
    colour_jitter: ColourJitter = field(default_factory=ColourJitter)
    """Changes brightness, contrast, saturation and hue."""
    greyscale: Greyscale = field(default_factory=Greyscale)
    """Takes the colour away."""
    blur: Blur = field(default_factory=Blur)
    """Smooths the picture with a Gaussian."""

    def of_pixels(self, *, per_frame: bool) -> Iterator[tuple[str, Augmentation]]:
        """(name, augmentation) of those that are on and draw once a frame, or once a clip."""
        for entry in fields(self):
            one = getattr(self, entry.name)
            if isinstance(one, Augmentation) and one.is_on and one.per_frame == per_frame:
                yield entry.name, one


AUGMENTATIONS: dict[str, Any] = {
    entry.name: getattr(AugmentationConfig(), entry.name) for entry in fields(AugmentationConfig)
}
"""Name -> the augmentation with its defaults, at which it is off."""
