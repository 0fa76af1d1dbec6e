"""Size, geometry and sampling rule of the clips that training sees."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from prp_core.checks import check, check_choice
from prp_core.data.augmentation import AugmentationConfig
from prp_core.data.dilated_sampling import span_length

# The choices of `clip.short_videos`.
SHORT_VIDEO_POLICIES = {
    "resample": "keep the rate, draw another video of the same part that is long enough; "
    "the published policy",
    "max-rate": "keep the video, draw the rate among those that fit; "
    "rate 1 needs clip.length frames",
    "loop": "keep both, read the video again from its start where it ends",
}
# The choices of `clip.sampling`.
SAMPLING_RULES = {
    "uniform": "every start that fits is equally likely",
    "published": "the rule of the official code: one frame more is needed, "
    "the last two starts are never used, and start 0 is twice as likely",
}


@dataclass(frozen=True, kw_only=True)
class ClipConfig:
    """The clips of training: how long, how large, and from where in a video."""

    length: int = 16
    """Frames that enter the encoder; a multiple of 8, because every encoder halves time thrice."""
    resize_height: int = 128
    """Height in pixels that a frame is resized to before it is cropped."""
    resize_width: int = 171
    """Width in pixels that a frame is resized to; the aspect ratio is not kept."""
    crop: int = 112
    """Side in pixels of the square that is cropped; a multiple of 16."""
    random_crop: bool = False
    """Whether training crops at a random place, one for a whole clip, and not at the centre."""
    flip_probability: float = 0.0
    """Probability, 0 to 1, that a training clip is mirrored left to right, all of its frames."""
    short_videos: str = "resample"
    """For a video too short for its rate: ``resample`` the video, ``max-rate`` or ``loop``."""
    sampling: str = "uniform"
    """How the first frame of a clip is drawn: ``uniform``, or ``published`` (the official rule)."""
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    """What else is varied at random in training clips; all of it is off by default."""

    def __post_init__(self) -> None:
        check(
            self.length > 0 and self.length % 8 == 0,
            "clip.length",
            self.length,
            "must be a positive multiple of 8 (every encoder halves time three times); "
            "try 8, 16 or 24",
        )
        check(
            self.crop > 0 and self.crop % 16 == 0,
            "clip.crop",
            self.crop,
            "must be a positive multiple of 16 (every encoder halves space four times); "
            "try 48, 64 or 112",
        )
        for name in ("resize_height", "resize_width"):
            check(
                getattr(self, name) >= self.crop,
                f"clip.{name}",
                getattr(self, name),
                f"must be at least clip.crop = {self.crop}",
            )
        check(
            0 <= self.flip_probability <= 1,
            "clip.flip_probability",
            self.flip_probability,
            "must lie in 0 to 1",
        )
        check_choice("clip.short_videos", self.short_videos, SHORT_VIDEO_POLICIES)
        check_choice("clip.sampling", self.sampling, SAMPLING_RULES)

    def frames_needed(self, rate: int) -> int:
        """Frames that a video must have so that a clip at `rate` fits, wherever it may start."""
        most = self.augmentation.rate_jitter.percents(rate)[1]
        return span_length(self.length, rate, most) + (self.sampling == "published")

    def without_augmentation(self) -> ClipConfig:
        """The same clips, cropped at the centre, not mirrored and not augmented."""
        return replace(
            self,
            random_crop=False,
            flip_probability=0.0,
            augmentation=AugmentationConfig(),
        )
