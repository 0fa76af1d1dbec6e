"""Whether training waits for its videos, and what would help, from the loader's counters."""

from __future__ import annotations

from collections.abc import Mapping

MAX_WAIT_SHARE = 0.2
OFTEN = 0.1

ADVICE = {
    "none": "",
    "keep frames": (
        "decoded frames are not kept; set cache.frames_capacity_bytes (-1: a quarter of "
        "the free disk), so that a video is decoded once"
    ),
    "more frames": (
        "decoded frames do not fit into their cache; raise cache.frames_capacity_bytes, or "
        "lower it to 0 and 'prp data prepare'"
    ),
    "faster store": (
        "downloads are what it waits for; raise cache.capacity_bytes and "
        "loader.num_prefetched_videos, or bring the store nearer"
    ),
    "more decoders": (
        "decoding is what it waits for; raise loader.num_decoders with "
        "resources.cpus_per_worker, or make shards ('prp data prepare')"
    ),
}
"""What training can do about waiting; the metric ``data/advice`` is the place in this table."""


def with_hit_rates(counters: Mapping[str, float]) -> dict[str, float]:
    """`counters` with the hit rates (0 to 1) of the cache's tiers that were used.

    ``data/frames_hit_rate`` and ``data/cache_hit_rate``.
    """
    rates = {}
    for tier, ways in (("frames", ("hits", "misses", "bypassed")), ("cache", ("hits", "misses"))):
        asked = sum(counters.get(f"data/{tier}_{way}", 0.0) for way in ways)
        if asked:
            rates[f"data/{tier}_hit_rate"] = counters[f"data/{tier}_hits"] / asked
    return {**counters, **rates}


def data_advice(wait_share: float, counters: Mapping[str, float]) -> str:
    """The key of `ADVICE` for an epoch.

    The epoch waited for videos for `wait_share` (0 to 1) of its time and counted `counters`
    meanwhile. An epoch that filled the cache of frames is no sign of anything: the next ones read
    what it decoded.
    """
    if wait_share <= MAX_WAIT_SHARE:
        return "none"
    samples = max(counters.get("data/samples", 0.0), 1.0)
    seconds = {
        name: counters.get(f"data/{name}", 0.0) for name in ("cache_wait_seconds", "decode_seconds")
    }
    if seconds["cache_wait_seconds"] > seconds["decode_seconds"]:
        return "faster store"
    if "data/frames_hits" not in counters:
        return "keep frames"
    if (
        counters.get("data/frames_bypassed", 0.0) + counters.get("data/frames_evicted", 0.0)
        > OFTEN * samples
    ):
        return "more frames"
    if counters.get("data/frames_misses", 0.0) > OFTEN * samples:
        return "none"
    return "more decoders"


def wait_share(times: Mapping[str, float]) -> float:
    """The share (0 to 1) of the time of steps that was spent waiting for videos."""
    total = times["time/data_wait_seconds"] + times["time/compute_seconds"]
    return times["time/data_wait_seconds"] / total if total else 0.0
