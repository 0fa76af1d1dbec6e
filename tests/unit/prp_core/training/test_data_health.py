"""What is said about videos that come too slowly: a table of counters and remedies."""

from __future__ import annotations

import pytest

from prp_core.training.data_health import ADVICE, data_advice, with_hit_rates

WARM = {"samples": 100.0, "frames_hits": 100.0, "decode_seconds": 1.0}


@pytest.mark.parametrize(
    ("wait_share", "counters", "advice"),
    [
        (0.20, {}, "none"),
        (0.21, {"samples": 100, "decode_seconds": 50}, "keep frames"),
        (0.9, {"samples": 100, "decode_seconds": 50, "cache_wait_seconds": 51}, "faster store"),
        (
            0.9,
            {"samples": 100, "frames_hits": 0, "frames_misses": 100, "decode_seconds": 50},
            "none",
        ),
        (
            0.9,
            {
                "samples": 100,
                "frames_hits": 50,
                "frames_misses": 50,
                "frames_evicted": 50,
                "decode_seconds": 50,
            },
            "more frames",
        ),
        (
            0.9,
            {"samples": 100, "frames_hits": 0, "frames_bypassed": 100, "decode_seconds": 50},
            "more frames",
        ),
        (0.9, WARM, "more decoders"),
        (0.1, WARM, "none"),
        (0.9, {**WARM, "cache_wait_seconds": 9.0}, "faster store"),
    ],
)
def test_the_remedy(wait_share: float, counters: dict[str, float], advice: str) -> None:
    assert (
        data_advice(wait_share, {f"data/{name}": value for name, value in counters.items()})
        == advice
    )


def test_every_remedy_names_something_to_set_or_to_run() -> None:
    named = {
        "keep frames": "cache.frames_capacity_bytes",
        "more frames": "cache.frames_capacity_bytes",
        "faster store": "loader.num_prefetched_videos",
        "more decoders": "loader.num_decoders",
    }
    assert ADVICE["none"] == "" and set(named) == set(ADVICE) - {"none"}
    assert all(name in ADVICE[advice] for advice, name in named.items())


def test_hit_rates_stand_beside_what_was_asked() -> None:
    counters = {
        "data/frames_hits": 6.0,
        "data/frames_misses": 1.0,
        "data/frames_bypassed": 1.0,
        "data/cache_hits": 0.0,
        "data/cache_misses": 0.0,
    }
    assert with_hit_rates(counters) == {**counters, "data/frames_hit_rate": 0.75}
