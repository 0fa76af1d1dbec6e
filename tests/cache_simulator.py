"""A simulation of the node cache's eviction policy, for videos of one size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prp_core.randomness import permutation


def requests_of_trials(
    num_videos: int, num_epochs: int, num_trials: int, lag: int
) -> Iterator[int]:
    """What trials in step ask for, each `lag` samples behind the one before: all walk the same
    order, another one each epoch.
    """
    walk = [
        video for epoch in range(num_epochs) for video in permutation(num_videos, 1, epoch, "order")
    ]
    for place in range(len(walk) + lag * (num_trials - 1)):
        for trial in range(num_trials):
            if 0 <= place - trial * lag < len(walk):
                yield walk[place - trial * lag]


def simulated_hit_rate(
    requests: Iterable[int], num_slots: int, sticky_share: float, share_freed: float
) -> float:
    """Hits per request for room for `num_slots` videos: the first loads stay in their share, the
    rest goes oldest first, a few at a time.
    """
    held: list[int] = []  # in the order of loading
    num_sticky, num_freed = int(num_slots * sticky_share), max(1, int(num_slots * share_freed))
    hits = total = 0
    for video in requests:
        total += 1
        if video in held:
            hits += 1
            continue
        if len(held) == num_slots:
            del held[num_sticky : num_sticky + num_freed]
        held.append(video)
    return hits / total


def least_recently_used_hit_rate(requests: Iterable[int], num_slots: int) -> float:
    """The same for the usual policy, for comparison."""
    held: list[int] = []  # in the order of use
    hits = total = 0
    for video in requests:
        total += 1
        if video in held:
            hits += 1
            held.remove(video)
        elif len(held) == num_slots:
            del held[0]
        held.append(video)
    return hits / total
