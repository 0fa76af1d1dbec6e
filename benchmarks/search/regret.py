"""The regret of the search and of its rivals at equal costs, with intervals over seeds.

Regret is how much less the found cell is worth than the best one of the grid, in recall@1; worth is
what a cell scores on average over luck (`surrogate_grid.py`), that is when it is trained again. The
luck in the scores that a search sees is drawn anew for each seed, the same for all searches. What
has found nothing is counted as a cell at random.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.search.grid import Cell
from benchmarks.search.rivals import OURS, RIVALS, Found
from benchmarks.search.surrogate_grid import GridSurrogate
from orchestrator.confirmation import mean_interval
from prp_core.evaluation.intervals import Interval

Regrets = list[list[float]]
"""For each seed, the regret at each budget."""


class Kept:
    """Found cells in a file of JSON lines, so that a comparison that was stopped goes on; without
    a `path` in memory alone.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        lines = path.read_text().splitlines() if path and path.is_file() else []
        rows = [json.loads(line) for line in lines]
        self._found: dict[str, Found] = {row["what"]: row["found"] for row in rows}

    def found(self, what: str, search: Callable[[], Found]) -> Found:
        """What `search` found before under this name, else now."""
        if what not in self._found:
            self._found[what] = search()
            if self._path:
                with self._path.open("a") as file:
                    file.write(json.dumps({"what": what, "found": self._found[what]}) + "\n")
        return self._found[what]


class Game:
    """A grid called `name` on which searches are compared at the cost of so many `numbers` of full
    trainings.
    """

    def __init__(
        self, name: str, grid: Sequence[Cell], numbers: Sequence[int], kept: Kept | None = None
    ) -> None:
        self.surrogate = GridSurrogate(grid)
        cost = fmean(cell.at((max(cell.scores),)).cost for cell in grid)
        self.budgets = [number * cost for number in numbers]
        self._name = f"{name} {'-'.join(map(str, numbers))}"
        self._kept = kept or Kept()
        self._drawn: dict[int, list[Cell]] = {}

    def regrets(self, name: str, variant: Mapping[str, Any], seeds: Iterable[int]) -> Regrets:
        """What the rival `name` with the settings `variant` leaves on the table."""
        worth = self.surrogate.worth
        best, average = max(worth), fmean(worth)
        return [
            [
                best - (average if place is None else worth[place])
                for place in self._found(name, variant, seed)
            ]
            for seed in seeds
        ]

    def _found(self, name: str, variant: Mapping[str, Any], seed: int) -> Found:
        def search() -> Found:
            if seed not in self._drawn:
                self._drawn[seed] = self.surrogate.drawn(seed)
            return RIVALS[name].search(self._drawn[seed], seed, self.budgets, **variant)

        return self._kept.found(f"{self._name}: {name} {dict(variant)} {seed}", search)


def tuned(name: str, game: Game, seeds: Sequence[int]) -> Mapping[str, Any]:
    """The variant of the rival with the least regret, on average over budgets and seeds of
    `game`.
    """
    variants = RIVALS[name].variants
    if len(variants) == 1:
        return variants[0]
    return min(variants, key=lambda variant: fmean(map(fmean, game.regrets(name, variant, seeds))))


@dataclass(frozen=True)
class Row:
    """A rival with its settings: for each budget the mean regret, and how much more it is than
    that of ours, seed by seed (None: ours itself).
    """

    name: str
    variant: Mapping[str, Any]
    regret: tuple[Interval, ...]
    more: tuple[Interval, ...] | None
    seconds: float


def rows(
    game: Game, tuning: Game, *, seeds: Sequence[int], tuning_seeds: Sequence[int]
) -> Iterable[Row]:
    """One for each of `RIVALS`, ours first, as soon as it is played."""
    base: Regrets = []
    for name in RIVALS:
        started = time.process_time()
        variant = tuned(name, tuning, tuning_seeds)
        regrets = game.regrets(name, variant, seeds)
        base = base or regrets
        more = [
            [one - other for one, other in zip(*pair, strict=True)]
            for pair in zip(regrets, base, strict=True)
        ]
        yield Row(
            name,
            variant,
            _intervals(regrets),
            None if name == OURS else _intervals(more),
            time.process_time() - started,
        )


def _intervals(regrets: Regrets) -> tuple[Interval, ...]:
    return tuple(mean_interval(column) for column in zip(*regrets, strict=True))


def verdict(more: Interval) -> str:
    """What the paired difference says of ours against a rival."""
    if more.low > 0:
        return "ours is better"
    return "ours is worse" if more.high < 0 else "not told apart"


def print_regrets(
    found: Iterable[Row], numbers: Sequence[int], say: Callable[[str], None] = print
) -> None:
    """One block of lines for each rival."""
    for row in found:
        settings = ", ".join(f"{name} {value}" for name, value in row.variant.items())
        title = f"{row.name} ({settings})" if settings else row.name
        say(f"\n{title}: {row.seconds:.0f} CPU-seconds")
        for place, number in enumerate(numbers):
            line = f"  {number:>4} trainings: regret {_text(row.regret[place])}"
            if row.more:
                more = row.more[place]
                line += f"; above ours by {_text(more, '+')}: {verdict(more)}"
            say(line)


def _text(interval: Interval, sign: str = "") -> str:
    return f"{interval.value:{sign}.3f} [{interval.low:{sign}.3f}, {interval.high:{sign}.3f}]"
