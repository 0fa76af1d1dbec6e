"""How videos are decoded and handed to training."""

from __future__ import annotations

from dataclasses import dataclass

from prp_core.checks import check, check_choice

JPEG_PLACES = {
    "cpu": "in the loader's threads",
    "device": "where the network is: on a worker's GPU",
}
COLOURS = {
    "decoder": "frames become RGB where they are decoded, by FFmpeg",
    "device": "frames of training travel as 8-bit 4:2:0, half the bytes, and become RGB on the "
    "device; files of another kind travel as RGB",
}


@dataclass(frozen=True, kw_only=True)
class LoaderConfig:
    """`num_decoders` threads, each with a decoder process of its own that is killed when it passes
    a limit.

    `colour` is a key of `COLOURS`. `decode_timeout_seconds` counts the decoder's CPU time for one
    request. Frames of more than `max_carried_pixels` are resized to the clip's size where they are
    decoded, because a sample of 1280 x 720 would be 165 MB; 0 carries every frame as it is.
    `decode_jpegs_on` (a key of `JPEG_PLACES`) says where the JPEGs of prepared shards are decoded.
    Objects of a far store are fetched `num_prefetched_videos` videos ahead of the decoders, as far
    as the node's cache has room; 0: none.
    """

    reader: str = "pyav"
    colour: str = "decoder"
    num_decoders: int = 4
    num_prefetched_batches: int = 4
    num_prefetched_videos: int = 32
    decode_timeout_seconds: float = 30.0
    decode_memory_bytes: int = 3 << 30
    max_pixels: int = 4096 * 2304
    max_carried_pixels: int = 512 * 384
    decode_jpegs_on: str = "cpu"

    def __post_init__(self) -> None:
        check_choice("loader.colour", self.colour, COLOURS)
        planar = self.colour == "decoder" or self.reader != "decord"
        check(
            planar,
            "loader.colour",
            self.colour,
            "needs planes, and loader.reader = 'decord' has RGB only; choose "
            "loader.reader = 'pyav'",
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
        check_choice("loader.decode_jpegs_on", self.decode_jpegs_on, JPEG_PLACES)
