"""What is there to be found on a recorded grid: spread, explained variance, rank correlations?

    uv run python -m benchmarks.search.describe_grid benchmarks/search/recorded/epochs_12.jsonl
    --queries 48

Printed: the final scores' quantiles; for each dimension, the mean final score of its values; the
share of the final scores' variance that an additive model of all dimensions explains (adjusted for
its number of parameters) and the standard deviation of what it leaves, beside what `--queries`
alone make of a recall; Spearman's rank correlation of each recorded epoch's score with the final
one.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.search.grid import Cell, read_grids


def main() -> None:
    """Read, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "grid",
        type=Path,
        nargs="+",
        help="of several files, recorded with other seeds, the mean is described",
    )
    parser.add_argument(
        "--queries",
        type=int,
        default=0,
        help="of the validation part: recall's standard error is printed for it",
    )
    arguments = parser.parse_args()
    grid = read_grids(arguments.grid)
    final = np.array([cell.final for cell in grid])
    quantiles = ", ".join(
        f"{share:.0%}: {np.quantile(final, share):.3f}"
        for share in (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)
    )
    print(
        f"{len(grid)} cells, {sum(cell.cost for cell in grid):.0f} CPU-seconds; final "
        f"scores {quantiles}"
    )
    for name, levels in levels_of(grid).items():
        means = ", ".join(
            f"{level}: {np.mean([cell.final for cell in grid if cell.values[name] == level]):.3f}"
            for level in levels
        )
        print(f"{name}: {means}")
    explained, deviation = additive_fit(grid)
    noise = (
        (
            " (the queries alone: "
            f"{math.sqrt(final.mean() * (1 - final.mean()) / arguments.queries):.3f})"
        )
        if arguments.queries
        else ""
    )
    print(
        f"an additive model explains {explained:.0%} of their variance, adjusted; what "
        f"it leaves has a deviation of {deviation:.3f}{noise}"
    )
    correlations = ", ".join(
        f"{epoch}: {rank_correlation([cell.scores[epoch] for cell in grid], final):.2f}"
        for epoch in sorted(grid[0].scores)[:-1]
    )
    print(f"rank correlation with the final score, by epoch: {correlations}")


def levels_of(grid: Sequence[Cell]) -> dict[str, list[Any]]:
    """The values of each dimension that varies, in order."""
    levels = {name: sorted({cell.values[name] for cell in grid}) for name in grid[0].values}
    return {name: values for name, values in levels.items() if len(values) > 1}


def additive_fit(grid: Sequence[Cell]) -> tuple[float, float]:
    """The adjusted share of variance that effects of single values explain, and the residuals'
    standard deviation.
    """
    levels = levels_of(grid)
    columns = [
        [float(cell.values[name] == level) for cell in grid]
        for name, values in levels.items()
        for level in values[1:]
    ]
    design = np.array([[1.0] * len(grid), *columns]).T
    final = np.array([cell.final for cell in grid])
    residuals = final - design @ np.linalg.lstsq(design, final, rcond=None)[0]
    variance = float((residuals**2).sum()) / (len(grid) - design.shape[1])
    return 1 - variance / float(final.var(ddof=1)), math.sqrt(variance)


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Spearman's; equal scores share their rank."""
    return float(np.corrcoef(_ranks(one), _ranks(other))[0, 1])


def _ranks(values: Sequence[float]) -> np.ndarray:
    array = np.asarray(values)
    return (array[:, None] > array).sum(axis=1) + 0.5 * (array[:, None] == array).sum(axis=1)


if __name__ == "__main__":
    main()
