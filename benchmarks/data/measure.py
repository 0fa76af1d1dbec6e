"""Side-by-side measurement of ways of loading: clips per CPU-second, medians of rounds.

CPU time is that of this process, its threads and its children; rounds are interleaved.
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from prp_core.data.decode_process import cpu_seconds


@dataclass(frozen=True)
class Request:
    """One sample: the frames at `positions` after `start`, of a span of `rate` x clip length."""

    path: Path
    start: int
    rate: int
    clip_length: int
    positions: tuple[int, ...]

    @property
    def frames(self) -> list[int]:
        """The video's frames that the sample needs."""
        return [self.start + position for position in self.positions]


Truth = Callable[
    [Request, tuple[int, int]], np.ndarray
]  # the frames that a request asks for, at a size (height, width)


@dataclass(frozen=True)
class Way:
    """A way of loading: `load` is timed, `pictures` turns its result into uint8 (N, H, W, 3).

    `pids` names processes that work for it; `close` ends them. `num_at_once` requests are loaded at
    a time, each by a thread.
    """

    name: str
    load: Callable[[Request], object]
    pictures: Callable[[object, Request], np.ndarray] | None = None
    pids: Callable[[], Sequence[int]] = tuple
    close: Callable[[], None] = lambda: None
    num_at_once: int = 1


@dataclass(frozen=True)
class Figure:
    """The result of one way: clips per CPU-second in each round, and its pictures' error.

    The error is the difference from the true pictures (None: it has none).
    """

    name: str
    rounds: tuple[float, ...]
    max_difference: int | None
    mean_difference: float | None

    @property
    def median(self) -> float:
        """Clips per CPU-second."""
        return statistics.median(self.rounds)


def compare(
    ways: Sequence[Way], requests: Sequence[Request], truth: Truth, *, num_rounds: int
) -> list[Figure]:
    """Run every way over every request, `num_rounds` times in turn, after an uncounted round.

    Then their pictures are compared.
    """
    rates: dict[str, list[float]] = {way.name: [] for way in ways}
    for number in range(num_rounds + 1):
        for way in ways:
            started = _cpu(way)
            _load_all(way, requests)
            rate = len(requests) / (_cpu(way) - started)
            rates[way.name] += [rate] if number else []
    return [
        Figure(way.name, tuple(rates[way.name]), *_differences(way, requests, truth))
        for way in ways
    ]


def _load_all(way: Way, requests: Sequence[Request]) -> None:
    if way.num_at_once == 1:
        for request in requests:
            way.load(request)
        return
    with ThreadPoolExecutor(way.num_at_once) as threads:
        for _ in threads.map(way.load, requests):
            pass


def _cpu(way: Way) -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (
        time.process_time()
        + children.ru_utime
        + children.ru_stime
        + sum(cpu_seconds(pid) for pid in way.pids())
    )


def _differences(
    way: Way, requests: Sequence[Request], truth: Truth
) -> tuple[int | None, float | None]:
    """(largest, mean) difference of the way's pictures from the true ones, in grey levels."""
    if way.pictures is None:
        return None, None
    largest = 0
    means = []
    for request in requests:
        pictures_NHWC = way.pictures(way.load(request), request)
        true_NHWC = truth(request, (pictures_NHWC.shape[1], pictures_NHWC.shape[2]))
        assert pictures_NHWC.shape == true_NHWC.shape, (
            way.name,
            pictures_NHWC.shape,
            true_NHWC.shape,
        )
        difference = np.abs(pictures_NHWC.astype(np.int16) - true_NHWC)
        largest = max(largest, int(difference.max()))
        means = [*means, float(difference.mean())]
    return largest, statistics.mean(means)


def table(figures: Sequence[Figure], *, base: str, limit: str) -> str:
    """A table in Markdown: each figure against that of `base` and that of `limit`."""
    medians = {figure.name: figure.median for figure in figures}
    lines = [
        "| way | clips per CPU-second [least, most] | paper's = 1 | of the decoder's "
        "limit | largest / mean difference |",
        "|---|---|---|---|---|",
    ]
    for figure in figures:
        difference = (
            "-"
            if figure.max_difference is None
            else f"{figure.max_difference} / {figure.mean_difference:.2f}"
        )
        lines.append(
            f"| {figure.name} | {figure.median:.1f} [{min(figure.rounds):.1f}, "
            f"{max(figure.rounds):.1f}] | {figure.median / medians[base]:.2f}x "
            f"| {figure.median / medians[limit]:.0%} | {difference} |"
        )
    return "\n".join(lines)
