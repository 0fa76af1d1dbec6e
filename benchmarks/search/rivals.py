"""The rivals of the search on a grid: which cell each of them finds for so much cost.

A search answers with a cell for each budget: the best of the trainings that it has paid to the end,
by their score, luck included; None where there is none yet. `RIVALS` lists them. The settings of
each that could be chosen otherwise are its variants; `regret.py` chooses among them on one grid and
tells the figures on another. `ours` has none: its constants were chosen before, on
``learning_rates.jsonl``.
"""

from __future__ import annotations

import bisect
import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.search.grid import Cell
from benchmarks.search.search_replay import Reached, Replay, Rules, random_search

Found = list[int | None]
Search = Callable[..., Found]
"""``search(grid, seed, budgets, **variant)``: the place of the cell found for each budget."""

SHARES = (2, 4)  # the first rung comes after a half or a quarter of a training


@dataclass(frozen=True)
class Rival:
    """A way to search, and the settings to choose its own from."""

    search: Search
    variants: tuple[Mapping[str, Any], ...] = ({},)


def found_at(reached: Sequence[Reached], budgets: Sequence[float]) -> Found:
    """The place of the best score that each budget had bought; `reached` by cost."""
    costs = [one.cost for one in reached]
    found: Found = []
    for budget in budgets:
        bought = reached[: bisect.bisect_right(costs, budget)]
        found.append(max(bought, key=lambda one: one.score).place if bought else None)
    return found


def first_rung(grid: Sequence[Cell], share: int) -> int:
    """The epoch after one `share`-th of a training."""
    return max(grid[0].scores) // share


def at_random(grid: Sequence[Cell], seed: int, budgets: Sequence[float]) -> Found:
    """Random search, each training to its end, none twice."""
    return found_at(random_search(grid, seed), budgets)


def replayed(
    grid: Sequence[Cell],
    seed: int,
    budgets: Sequence[float],
    *,
    sampler: str,
    share: int = 2,
    pruner: str = "asha",
    reduction_factor: int = 2,
) -> Found:
    """A sampler of the product with its pruner, in the real study."""
    rules = Rules(
        first_rung_epochs=first_rung(grid, share),
        sampler=sampler,
        pruner=pruner,
        reduction_factor=reduction_factor,
    )
    return found_at(Replay(grid, rules, seed).run(max(budgets)), budgets)


def best_of_first_rung(
    grid: Sequence[Cell], seed: int, budgets: Sequence[float], *, share: int, keep: int
) -> Found:
    """The k best of N random trials after the first rung are trained to the end, one in `keep` of
    them; N is the largest that a budget covers.
    """
    last = max(grid[0].scores)
    rungs = (first_rung(grid, share), last)
    cells = [cell.at(rungs) for cell in grid]
    order = list(range(len(grid)))
    random.Random(seed).shuffle(order)
    found: Found = [None] * len(budgets)
    for number in range(1, len(order) + 1):
        begun = sorted(order[:number], key=lambda place: -cells[place].scores[rungs[0]])
        kept = begun[: max(1, number // keep)]
        cost = sum(cells[place].costs[rungs[0]] for place in begun)
        cost += sum(cells[place].cost - cells[place].costs[rungs[0]] for place in kept)
        best = max(kept, key=lambda place: cells[place].final)
        found = [
            best if cost <= budget else before
            for budget, before in zip(budgets, found, strict=True)
        ]
    return found


def of_optuna(
    grid: Sequence[Cell],
    seed: int,
    budgets: Sequence[float],
    *,
    pruner: str,
    num_startup: int,
) -> Found:
    """Optuna's GP sampler in our study, which shows it a pruned trial as one that ended with its
    last score; without pruning as Optuna has it.
    """
    from optuna.samplers import GPSampler

    rules = Rules(first_rung_epochs=first_rung(grid, 2), pruner=pruner)
    sampler = GPSampler(seed=seed, n_startup_trials=num_startup)
    return found_at(Replay(grid, rules, seed, sampler=sampler).run(max(budgets)), budgets)


def of_botorch(
    grid: Sequence[Cell], seed: int, budgets: Sequence[float], *, share: int, num_startup: int
) -> Found:
    """BoTorch's multi-fidelity GP: see `multi_fidelity.py`."""
    from benchmarks.search.multi_fidelity import multi_fidelity_search

    rungs = (first_rung(grid, share), max(grid[0].scores))
    return multi_fidelity_search(grid, seed, budgets, rungs=rungs, num_startup=num_startup)


def ours(grid: Sequence[Cell], seed: int, budgets: Sequence[float]) -> Found:
    """The default search."""
    return replayed(grid, seed, budgets, sampler="gp")


def random_and_pruned(
    grid: Sequence[Cell], seed: int, budgets: Sequence[float], *, share: int, reduction_factor: int
) -> Found:
    """Random draws with the same pruning."""
    return replayed(
        grid,
        seed,
        budgets,
        sampler="random",
        share=share,
        reduction_factor=reduction_factor,
    )


def _product(**choices: Sequence[Any]) -> tuple[dict[str, Any], ...]:
    return tuple(
        dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())
    )


OURS = "ours"
RIVALS: dict[str, Rival] = {
    OURS: Rival(ours),
    "random": Rival(at_random),
    "random, same pruning": Rival(random_and_pruned, _product(share=SHARES, reduction_factor=(2,))),
    "k best of N": Rival(best_of_first_rung, _product(share=SHARES, keep=(2, 4, 8))),
    "Optuna's GP": Rival(of_optuna, _product(pruner=("asha", "none"), num_startup=(4,))),
    "BoTorch's multi-fidelity GP": Rival(of_botorch, _product(share=SHARES, num_startup=(4,))),
}
