"""A multi-fidelity Gaussian process of BoTorch as a search over a grid: a rival in the replay.

`SingleTaskMultiFidelityGP` (Wu et al., "Practical Multi-fidelity Bayesian Optimization for
Hyperparameter Tuning", UAI 2019) models the score after any share of a training. The next training,
or the continuation of one, is that with the most information about the best final score for its
cost (`qMultiFidelityMaxValueEntropy`; Takeno et al., ICML 2020), out of all cells of the grid. As
in BoTorch's own examples the answer is the cell whose expected final score is the highest, trained
to its end within the budget. It knows what every cell costs, and one training follows the other:
ours has to learn the costs, and runs two at once.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Sequence

import torch
from botorch.acquisition.max_value_entropy_search import qMultiFidelityMaxValueEntropy
from botorch.exceptions import BotorchWarning
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskMultiFidelityGP
from botorch.models.transforms import Standardize
from botorch.utils.sampling import manual_seed
from gpytorch.mlls import ExactMarginalLogLikelihood

from benchmarks.search.grid import Cell
from benchmarks.search.surrogate_grid import features

FIT_AGAIN = 4  # so many new scores change the model's parameters little
MAX_STEPS = 25  # of a fit


def multi_fidelity_search(
    grid: Sequence[Cell],
    seed: int,
    budgets: Sequence[float],
    *,
    rungs: tuple[int, ...],
    num_startup: int,
) -> list[int | None]:
    """The place of the cell that is recommended within each of `budgets`; None: none is covered."""
    with warnings.catch_warnings(), manual_seed(seed):
        warnings.simplefilter("ignore", BotorchWarning)
        search = _Search(grid, rungs)
        order = list(range(len(grid)))
        random.Random(seed).shuffle(order)
        for place in order[:num_startup]:
            search.train(place, rungs[0])
        found: list[int | None] = [None] * len(budgets)
        while True:
            search.fit()
            place = search.recommended()
            cost = search.spent + search.rest(place, rungs[-1])
            found = [
                place if cost <= budget else before
                for budget, before in zip(budgets, found, strict=True)
            ]
            step = search.next_step()
            if search.spent > max(budgets) or step is None:
                return found
            search.train(*step)


class _Search:
    """What was trained how far, and the model of it."""

    def __init__(self, grid: Sequence[Cell], rungs: tuple[int, ...]) -> None:
        self._cells = [cell.at(rungs) for cell in grid]
        self._rungs = rungs
        columns_CF = torch.tensor(features(grid), dtype=torch.float64)
        self._features_CF = columns_CF / columns_CF.amax(dim=0).clamp(min=1)
        self._seen: list[tuple[int, int]] = []
        self._reached = dict.fromkeys(range(len(grid)), 0)
        self._fitted_at = 0
        self._model: SingleTaskMultiFidelityGP | None = None
        self.spent = 0.0

    def rest(self, place: int, epoch: int) -> float:
        """What it costs to train the cell at `place` from where it is up to `epoch`."""
        costs = self._cells[place].costs
        reached = self._reached[place]
        return costs[epoch] - (costs[reached] if reached else 0.0)

    def train(self, place: int, epoch: int) -> None:
        """Pay for it, and see its score."""
        self.spent += self.rest(place, epoch)
        self._reached[place] = epoch
        self._seen.append((place, epoch))

    def fit(self) -> None:
        """The model of all scores so far; its parameters anew after each `FIT_AGAIN` of them."""
        scores_N1 = torch.tensor(
            [[self._cells[place].scores[epoch]] for place, epoch in self._seen],
            dtype=torch.float64,
        )
        model = SingleTaskMultiFidelityGP(
            self._points(self._seen),
            scores_N1,
            data_fidelities=[self._features_CF.shape[1]],
            outcome_transform=Standardize(1),
        )
        if self._model is not None:
            before = self._model.state_dict().items()
            kept = {one: value for one, value in before if not one.startswith("outcome_transform")}
            model.load_state_dict(kept, strict=False)
        number = len(self._seen)
        if self._model is None or number - self._fitted_at >= FIT_AGAIN:
            likelihood = ExactMarginalLogLikelihood(model.likelihood, model)
            fit_gpytorch_mll(likelihood, optimizer_kwargs={"options": {"maxiter": MAX_STEPS}})
            self._fitted_at = number
        self._model = model.eval()

    def recommended(self) -> int:
        """The cell with the highest expected final score of those that were trained at all."""
        places = sorted({place for place, _ in self._seen})
        assert self._model is not None
        with torch.no_grad():
            posterior = self._model.posterior(self._points([(one, self._last) for one in places]))
        return places[int(posterior.mean.argmax())]

    def next_step(self) -> tuple[int, int] | None:
        """The (place, epoch) that tells most for its cost; None where all is trained."""
        steps = [
            (place, epoch)
            for place, reached in self._reached.items()
            for epoch in self._rungs
            if epoch > reached
        ]
        if not steps:
            return None
        all_of_them = self._points([(place, self._last) for place in self._reached])
        acquisition = qMultiFidelityMaxValueEntropy(
            self._model, candidate_set=all_of_them, num_fantasies=1, project=self._at_the_end
        )
        with torch.no_grad():
            gains = acquisition(self._points(steps)[:, None, :])
        costs = torch.tensor([self.rest(*step) for step in steps], dtype=torch.float64)
        return steps[int((gains / costs).argmax())]

    @property
    def _last(self) -> int:
        return self._rungs[-1]

    @staticmethod
    def _at_the_end(points: torch.Tensor) -> torch.Tensor:
        return torch.cat([points[..., :-1], torch.ones_like(points[..., -1:])], dim=-1)

    def _points(self, steps: Sequence[tuple[int, int]]) -> torch.Tensor:
        """(steps, features + 1): the last column is the share of the training."""
        shares = torch.tensor([[epoch / self._last] for _, epoch in steps], dtype=torch.float64)
        return torch.cat([self._features_CF[[place for place, _ in steps]], shares], dim=1)
