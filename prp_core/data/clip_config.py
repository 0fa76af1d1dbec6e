"""Size and geometry of the clips that training sees."""

from __future__ import annotations

from dataclasses import dataclass

from prp_core.checks import check, check_choice

SHORT_VIDEO_POLICIES = {
    "resample": "keep the rate, draw another video of the same part that is long enough (the "
    "published way)",
    "max-rate": "keep the video, draw the rate among those that fit; rate 1 needs clip.length "
    "frames",
    "loop": "keep both, read the video again from its start where it ends",
}


@dataclass(frozen=True, kw_only=True)
class ClipConfig:
    """A clip of `length` frames, resized to `resize_height` x `resize_width`, cropped to a square
    of `crop` pixels.
    """

    length: int = 16
    resize_height: int = 128
    resize_width: int = 171
    crop: int = 112
    random_crop: bool = False
    flip_probability: float = 0.0
    short_videos: str = "resample"

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
            "must be a positive multiple of 16 (every encoder halves space four "
            "times); try 48, 64 or 112",
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
