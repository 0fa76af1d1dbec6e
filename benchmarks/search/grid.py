"""Recorded grids: the score and the cost of every combination of values at every rung."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

RATES = ("1-2", "1-4", "1-2-4", "1-3-6", "1-2-4-8", "2-4-8")
LENGTHS = (8, 16)
WEIGHTS = (0.03, 0.3, 3.0)


@dataclass(frozen=True)
class Cell:
    """One combination of `values` (path -> value); `scores` and cumulated `costs` (CPU-seconds) by
    the epoch of each recorded evaluation, and which queries hit there, 0 or 1 for each (`hits`,
    empty where they were not recorded).

    `evaluation` is what one of these evaluations cost, on average; it is part of `costs`.
    """

    values: dict[str, Any]
    scores: dict[int, float]
    costs: dict[int, float]
    evaluation: float = 0.0
    hits: dict[int, str] = field(default_factory=dict)

    def at(self, rungs: Sequence[int]) -> Cell:
        """The same training evaluated at `rungs` only, which were all recorded."""
        skipped = {
            rung: sum(epoch <= rung and epoch not in rungs for epoch in self.scores)
            for rung in rungs
        }
        costs = {rung: self.costs[rung] - self.evaluation * skipped[rung] for rung in rungs}
        scores = {rung: self.scores[rung] for rung in rungs}
        hits = {rung: self.hits[rung] for rung in rungs if rung in self.hits}
        return Cell(self.values, scores, costs, self.evaluation, hits)

    @property
    def final(self) -> float:
        """The score after the last epoch."""
        return self.scores[max(self.scores)]

    @property
    def cost(self) -> float:
        """What the whole training cost."""
        return self.costs[max(self.costs)]


def cells_to_record(
    learning_rates: Sequence[float] = (), lengths: Sequence[int] = LENGTHS
) -> list[dict[str, Any]]:
    """The combinations of 3 weights x clip `lengths` x 6 rate sets, for each of `learning_rates` if
    there are any, else at the preset's.
    """
    return [
        {
            "pretext.playback_rate.rates": rates,
            "clip.length": length,
            "pretext.playback_rate.loss_weight": weight,
            "pretext.slow_motion.attention.mode": "dpau",
            **learning_rate,
        }
        for learning_rate in [{"training.learning_rate": rate} for rate in learning_rates] or [{}]
        for weight, length, rates in product(WEIGHTS, lengths, RATES)
    ]


def write_cell(path: Path, cell: Cell) -> None:
    """Append one line."""
    with path.open("a") as file:
        file.write(json.dumps(asdict(cell)) + "\n")


def read_grid(path: Path) -> list[Cell]:
    """The cells of a file of JSON lines; a line that a crash cut short is left out."""
    cells = []
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        by_epoch = (
            {int(epoch): value for epoch, value in row.get(name, {}).items()}
            for name in ("scores", "costs", "hits")
        )
        scores, costs, hits = by_epoch
        cells.append(Cell(row["values"], scores, costs, row.get("evaluation", 0.0), hits))
    return cells


def mean_of(grids: Sequence[Sequence[Cell]]) -> list[Cell]:
    """One grid of those that were recorded with different seeds: a trial trains its values with
    each seed, and scores the mean.

    Only what all of them have is kept: values, and epochs; which queries hit, of one grid alone.
    Raises `ValueError` where that is nothing.
    """
    if not all(grids):
        raise ValueError("a grid has no cell")
    kept = [
        cell.values
        for cell in grids[0]
        if all(any(other.values == cell.values for other in grid) for grid in grids)
    ]
    epochs = sorted(set.intersection(*(set(cell.scores) for grid in grids for cell in grid)))
    if not kept or not epochs:
        raise ValueError("the grids have no cell or no epoch in common")
    cells = []
    for values in kept:
        same = [next(cell for cell in grid if cell.values == values).at(epochs) for grid in grids]
        scores = {epoch: sum(cell.scores[epoch] for cell in same) / len(same) for epoch in epochs}
        cells.append(
            Cell(
                values,
                scores,
                {epoch: sum(cell.costs[epoch] for cell in same) for epoch in epochs},
                sum(cell.evaluation for cell in same),
                same[0].hits if len(same) == 1 else {},
            )
        )
    return cells


def read_grids(paths: Sequence[Path]) -> list[Cell]:
    """The mean of the grids in `paths`. Raises `SystemExit` that names a file in which there is no
    cell.
    """
    grids = [read_grid(path) for path in paths]
    for path, grid in zip(paths, grids, strict=True):
        if not grid:
            raise SystemExit(
                f"{path} holds no recorded cell; record some with "
                f"benchmarks.search.record_grid --out {path}"
            )
    return mean_of(grids)


def synthetic_grid(
    seed: int, rungs: Sequence[int] = (3, 6, 12), combinations: Sequence[Mapping[str, Any]] = ()
) -> list[Cell]:
    """A made-up grid for trying things out: additive effects with interaction, curves that saturate
    at their own pace, noisy scores.

    Nothing measured on it says anything of the method, only of the search.
    """
    draw = random.Random(seed)
    combinations = combinations or cells_to_record()
    effects: dict[tuple[str, Any], float] = {}
    cells = []
    for values in combinations:
        parts = [effects.setdefault(item, draw.gauss(0, 0.05)) for item in values.items()]
        goal = min(max(0.45 + sum(parts) + draw.gauss(0, 0.02), 0.2), 0.95)
        pace = draw.uniform(2.0, 5.0)
        scores = {
            epoch: round(
                0.25 + (goal - 0.25) * (1 - math.exp(-epoch / pace)) + draw.gauss(0, 0.015), 4
            )
            for epoch in rungs
        }
        speed = 6.0 if values.get("clip.length") == 16 else 3.0
        cells.append(Cell(dict(values), scores, {epoch: speed * epoch for epoch in rungs}))
    return cells
