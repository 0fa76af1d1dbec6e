"""A surrogate benchmark of a recorded grid: a random forest's scores plus resampled residuals.

On the recorded table itself the same few cells are lucky for every search, and luck belongs to a
place. In a real space no two trials have the same values, and each has its own luck. So a random
forest (one score for each epoch) is fitted to the recorded scores, and what it misses for the cells
that a tree was not grown from (out of bag) is what luck and unexplained structure make of a score,
at all epochs of one training together. A surrogate grid is the forest's scores plus, for each cell,
such a residual of a cell drawn at random among those of the same learning rate where the grid has
several. The forest is no relative of the model that the search itself uses.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np

from benchmarks.search.grid import Cell

LEARNING_RATE = "training.learning_rate"
NUM_TREES = 500


class GridSurrogate:
    """Fitted to `grid`. `worth` is what each of its cells scores at the end, on average over luck:
    what its values are worth.
    """

    def __init__(self, grid: Sequence[Cell]) -> None:
        from sklearn.ensemble import (
            RandomForestRegressor,
        )  # takes seconds, which whoever plays the recorded table itself need not wait

        self._grid = grid
        self._epochs = sorted(grid[0].scores)
        scores_CE = np.array([[cell.scores[epoch] for epoch in self._epochs] for cell in grid])
        features_CF = features(grid)
        forest = RandomForestRegressor(
            NUM_TREES,
            oob_score=True,
            min_samples_leaf=2,
            max_features=0.5,
            random_state=0,
            n_jobs=1,
        )
        forest.fit(features_CF, scores_CE)
        self._expected_CE = forest.predict(features_CF)
        self._residuals_CE = scores_CE - forest.oob_prediction_
        rates = [cell.values.get(LEARNING_RATE) for cell in grid]
        self._kin = [
            [place for place, other in enumerate(rates) if other == rate] for rate in rates
        ]
        self.worth = [
            float(self._expected_CE[place, -1] + self._residuals_CE[kin, -1].mean())
            for place, kin in enumerate(self._kin)
        ]

    def drawn(self, seed: int) -> list[Cell]:
        """The grid with the luck of `seed`; its cells are in the recorded order, at the recorded
        costs.
        """
        draw = random.Random(seed)
        cells = []
        for place, cell in enumerate(self._grid):
            luck_E = self._residuals_CE[draw.choice(self._kin[place])]
            scores = np.clip(self._expected_CE[place] + luck_E, 0.0, 1.0)
            cells.append(
                Cell(
                    cell.values,
                    dict(zip(self._epochs, map(float, scores), strict=True)),
                    cell.costs,
                    cell.evaluation,
                )
            )
        return cells


def features(grid: Sequence[Cell]) -> np.ndarray:
    """(cells, features): numbers by their level, so that decades are even steps; of a text, one
    column for each of its values.
    """
    columns = []
    for name in grid[0].values:
        levels = sorted({cell.values[name] for cell in grid})
        if isinstance(levels[0], str):
            columns += [[float(cell.values[name] == level) for cell in grid] for level in levels]
        else:
            columns.append([float(levels.index(cell.values[name])) for cell in grid])
    return np.array(columns).T
