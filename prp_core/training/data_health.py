"""Whether training waits for its videos, and what would help, from the loader's counters."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from prp_core.training.metrics import RunningMean

if TYPE_CHECKING:  # the coordinator shows the advice, and never needs torch
    from prp_core.data.frame_source import FrameSource
    from prp_core.data.loader import SpanLoader
    from prp_core.world import World

log = logging.getLogger(__name__)

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


class EpochHealth:
    """The metrics of an epoch's data loading, over all workers, and its advice, said once."""

    def __init__(self, source: FrameSource, loader: SpanLoader, world: World) -> None:
        self._source = source
        self._loader = loader
        self._world = world
        self._times = RunningMean()
        self._last_counters: dict[str, float] = {}
        self._advised: set[str] = set()

    def add(self, times: Mapping[str, float]) -> None:
        """Count a step's ``time/data_wait_seconds`` and ``time/compute_seconds``."""
        self._times.add(times)

    def end_epoch(self) -> dict[str, float]:
        """Counters, hit rates, wait share and advice since the last call; on every worker."""
        times = self._world.mean(self._times.means())
        share = wait_share(times) if times else 0.0
        counters = self._counters()
        advice = data_advice(
            share,
            {name: value - self._last_counters.get(name, 0.0) for name, value in counters.items()},
        )
        if advice not in ("none", *self._advised) and self._world.is_first:
            log.warning(
                "training waits for videos %.0f %% of its time: %s", 100 * share, ADVICE[advice]
            )
        self._advised.add(advice)
        self._last_counters = counters
        self._times.clear()
        health = {
            "time/epoch_data_wait_share": share,
            "data/advice": float(list(ADVICE).index(advice)),
        }
        return {**with_hit_rates(counters), **health}

    def _counters(self) -> dict[str, float]:
        """Totals over the workers since this process started.

        The loader's own seconds are left out: waiting is timed by whoever trains.
        """
        counters = {**self._source.counters, **self._loader.counters}
        return self._world.sum(
            {name: float(value) for name, value in counters.items() if name.startswith("data/")}
        )
