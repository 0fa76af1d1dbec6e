"""The settings of decoding and of the data loader."""

from __future__ import annotations

from dataclasses import dataclass

from prp_core.checks import check, check_choice

JPEG_PLACES = {
    "cpu": "in the loader's threads",
    "device": "where the network is: on a worker's GPU",
}
COLOURS = {
    "decoder": "frames become RGB where they are decoded, by FFmpeg",
    "device": "frames of training travel as 8-bit 4:2:0, half the bytes, "
    "and become RGB on the device; files of another kind travel as RGB",
}


@dataclass(frozen=True, kw_only=True)
class LoaderConfig:
    """How videos are decoded and prefetched for training."""

    reader: str = "pyav"
    """The decoding library: ``pyav`` or ``decord`` (`READERS`)."""
    colour: str = "decoder"
    """Where frames become RGB: in the ``decoder``, or on the ``device`` (half the bytes)."""
    num_decoders: int = 4
    """Loader threads, each with a decode process of its own."""
    num_prefetched_batches: int = 4
    """Batches that are decoded ahead of the step."""
    num_prefetched_videos: int = 32
    """Videos of a remote store that are fetched ahead, as far as the cache has room; 0: none."""
    decode_timeout_seconds: float = 30.0
    """CPU seconds that a decode process may spend on one request before it is killed."""
    decode_memory_bytes: int = 3 << 30
    """Address space in bytes that a decode process may use; at least 512 MiB."""
    max_pixels: int = 4096 * 2304
    """Pixels of a frame (width x height) above which a video is quarantined as too large."""
    max_pixels_decoded: int = 3_000_000_000
    """Pixels that reading one frame may decode, all frames that it needs included.

    A video of which a frame may need more is set aside as ``needs-prepare``.
    """
    max_carried_pixels: int = 512 * 384
    """Pixels above which frames are resized as they come from the decoder, for training and for
    evaluation; 0: never.

    They are resized to the clip's size: a sample of 1280 x 720 would otherwise be 165 MB.
    """
    decode_jpegs_on: str = "cpu"
    """Where the JPEGs of prepared shards are decoded: on the ``cpu`` or on the ``device``."""

    def __post_init__(self) -> None:
        check_choice("loader.colour", self.colour, COLOURS)
        planar = self.colour == "decoder" or self.reader != "decord"
        check(
            planar,
            "loader.colour",
            self.colour,
            "needs planes, and loader.reader = 'decord' has RGB only; "
            "choose loader.reader = 'pyav'",
        )
        check(
            self.num_decoders >= 1, "loader.num_decoders", self.num_decoders, "must be at least 1"
        )
        check(
            self.num_prefetched_batches >= 1,
            "loader.num_prefetched_batches",
            self.num_prefetched_batches,
            "must be at least 1",
        )
        check(
            self.num_prefetched_videos >= 0,
            "loader.num_prefetched_videos",
            self.num_prefetched_videos,
            "must not be negative",
        )
        check(
            self.decode_timeout_seconds > 0,
            "loader.decode_timeout_seconds",
            self.decode_timeout_seconds,
            "must be positive",
        )
        check(
            self.decode_memory_bytes >= 1 << 29,
            "loader.decode_memory_bytes",
            self.decode_memory_bytes,
            "must be at least 536870912 (512 MiB)",
        )
        check(
            self.max_carried_pixels >= 0,
            "loader.max_carried_pixels",
            self.max_carried_pixels,
            "must not be negative",
        )
        check(self.max_pixels > 0, "loader.max_pixels", self.max_pixels, "must be positive")
        check(
            self.max_pixels_decoded > 0,
            "loader.max_pixels_decoded",
            self.max_pixels_decoded,
            "must be positive",
        )
        check_choice("loader.decode_jpegs_on", self.decode_jpegs_on, JPEG_PLACES)
