"""What the cache keeps over epochs: the real one against the policy, and against LRU."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
import torch

from prp_core.data.cache.frame_cache import FrameCache
from prp_core.data.cache.frames_file import FramesKey
from prp_core.data.cache.space import EXTRA_SHARE_FREED, STALE_AFTER_SECONDS, Entry, eviction_order
from prp_core.data.clip_config import SHORT_VIDEO_POLICIES, ClipConfig
from prp_core.data.clip_dataset import ClipDataset
from prp_core.data.manifest import VideoRecord
from tests.cache_simulator import (
    least_recently_used_hit_rate,
    requests_of_trials,
    simulated_hit_rate,
)
from tests.span_sampling import sampling_of

NUM_VIDEOS, NUM_EPOCHS, LAG = (
    48,
    4,
    1,
)  # the trials are spread over 3 videos: fewer than the smallest window of 6


def key_of(video: int) -> FramesKey:
    return FramesKey(f"{video:02x}".ljust(40, "0"), 2, 8, 8)


def decode() -> Generator[torch.Tensor, None, None]:
    yield torch.zeros(2, 8, 8, 3, dtype=torch.uint8)


@pytest.mark.parametrize("num_trials", [1, 4])
@pytest.mark.parametrize("budget", [0.25, 0.5, 1.0])
def test_real_hit_rates_are_those_of_the_policy(
    tmp_path: Path, num_trials: int, budget: float
) -> None:
    num_slots = int(budget * NUM_VIDEOS)
    caches = [FrameCache(tmp_path, num_slots * key_of(0).num_bytes) for _ in range(num_trials)]
    requests = list(requests_of_trials(NUM_VIDEOS, NUM_EPOCHS, num_trials, LAG))
    for place, video in enumerate(requests):
        cache = caches[place % num_trials]
        if cache.read(key_of(video), [1]) is None:
            assert cache.fill(key_of(video), "video", decode) == "filled"
    real = sum(cache.counters["hits"] for cache in caches) / len(requests)
    expected = simulated_hit_rate(requests, num_slots, 0.5, EXTRA_SHARE_FREED)
    assert real == pytest.approx(expected, abs=0.05)
    if budget < 1:
        assert expected >= least_recently_used_hit_rate(requests, num_slots)
    else:
        assert real == pytest.approx(1 - NUM_VIDEOS / len(requests)), "what fits is loaded once"


def test_fetches_per_use_fall_when_trials_walk_in_step() -> None:
    """8 trials, half of the data fits: what one trial fetches serves the other seven."""
    alone = list(requests_of_trials(200, 10, 1, 0))
    together = list(requests_of_trials(200, 10, 8, LAG))
    fetches = [
        1 - simulated_hit_rate(requests, 100, 0.5, EXTRA_SHARE_FREED)
        for requests in (alone, together)
    ]
    assert 0.4 < fetches[0] < 0.75 and fetches[1] < fetches[0] / 6


def entries(*rows: tuple[str, float, float]) -> list[Entry]:
    return [
        Entry(used_at=used, loaded_at=loaded, num_bytes=10, path=Path(name))
        for name, loaded, used in rows
    ]


@pytest.mark.parametrize(
    ("capacity", "sticky_share", "expected"),
    [
        (40, 0.5, ["c", "d"]),
        (40, 0.0, ["a", "b", "c", "d"]),
        (40, 1.0, ["d"]),
        (20, 0.5, ["b", "c", "d"]),
        (1000, 1.0, ["d"]),
    ],
)
def test_what_may_go(capacity: int, sticky_share: float, expected: list[str]) -> None:
    now = 1e9
    by_load = entries(("c", 3, now), ("a", 1, now), ("d", 4, now), ("b", 2, now))
    assert [
        entry.path.name for entry in eviction_order(by_load, capacity, sticky_share, now)
    ] == expected


def test_what_nobody_used_for_a_day_goes_first() -> None:
    now = 1e9
    old = now - STALE_AFTER_SECONDS - 1
    found = eviction_order(
        entries(("a", 1, old), ("b", 2, now), ("c", 3, now), ("d", 4, old - 9)), 40, 0.5, now
    )
    assert [entry.path.name for entry in found] == ["d", "a", "c"]
    assert eviction_order([], 40, 0.5, now) == []


@pytest.mark.parametrize("policy", SHORT_VIDEO_POLICIES)
def test_trials_of_other_rates_and_lengths_walk_in_one_order(policy: str) -> None:
    """Sharing depends on it: trials of other rates and lengths read videos in one order.

    A video that is too short for a trial's span is the one exception, and only under "resample".
    """
    records = [
        VideoRecord(key=f"{number:03}", num_bytes=1, etag="", num_frames=300)
        for number in range(50)
    ]
    orders = []
    for rates, length in (((1, 2), 8), ((1, 3, 6), 16), ((2, 4, 8), 24)):
        clip = ClipConfig(length=length, short_videos=policy)
        dataset = ClipDataset(records, clip, sampling_of(rates, length), 7)
        orders.append(
            [[dataset.draw(epoch, index).video_index for index in range(50)] for epoch in range(3)]
        )
    assert orders[0] == orders[1] == orders[2] and orders[0][0] != orders[0][1]
