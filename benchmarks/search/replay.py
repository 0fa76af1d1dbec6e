"""What does the search save? The default search against random search on a recorded grid.

    uv run python -m benchmarks.search.replay --grid grid.jsonl --seeds 100
    uv run python -m benchmarks.search.replay --grid grid.jsonl --surrogate
        # each seed with luck of its own: see surrogate_grid.py
    uv run --group benchmarks python -m benchmarks.search.replay --grid grid.jsonl \
        --tuned-on other.jsonl --random-trials 4-8-12
        # against its rivals (rivals.py), each tuned on the other grid: regret, with intervals
    uv run python -m benchmarks.search.replay --grid hits.jsonl --pruner paired --than-pruner asha
        # against the same search with another pruner
    uv run python -m benchmarks.search.replay --synthetic 3
        # three made-up grids: of use only while a rule is being worked on

Searches are replayed (`search_replay.py`): trainings are looked up, all else is real. Random search
trains every draw to its end, without repeats. What a search has found is the best trial that ran to
its end. Printed, for several N, as medians over the seeds: what N random trials find, and the share
of their cost from which on the search has found as much: by the score, luck included, and with
`--surrogate` by what the best trial's values are worth without it, which is what is left when they
are trained again.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import importlib.util
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.search.comparison import (
    Row,
    best_scores,
    compare,
    score_above,
    searches,
    value_at,
    worth_of_the_best,
)
from benchmarks.search.grid import Cell, read_grids, synthetic_grid
from benchmarks.search.regret import Game, Kept, print_regrets, rows
from benchmarks.search.search_replay import Rules
from benchmarks.search.surrogate_grid import GridSurrogate


def parse_arguments() -> argparse.Namespace:
    """The command line; one option for each field of `Rules`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--grid",
        type=Path,
        nargs="+",
        help="JSON lines of benchmarks.search.record_grid; of several files, recorded with "
        "other seeds, the mean is played",
    )
    parser.add_argument(
        "--surrogate",
        action="store_true",
        help="the forest's scores with luck drawn anew for each seed: see surrogate_grid.py",
    )
    parser.add_argument(
        "--synthetic", type=int, default=0, metavar="N", help="N made-up grids instead"
    )
    parser.add_argument(
        "--tuned-on",
        type=Path,
        nargs="+",
        help="print the regret of the search and of its rivals; these grids choose the rivals' "
        "settings",
    )
    parser.add_argument("--tuning-seeds", type=int, default=10)
    parser.add_argument(
        "--keep", type=Path, help="with --tuned-on: a file of what was found, to go on from"
    )
    than = "print how far the best score lies above that of the same search with this pruner"
    parser.add_argument("--than-pruner", default="", metavar="NAME", help=than)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument(
        "--random-trials",
        default="8-16-32",
        help="what N random trials find is to be reached (default: %(default)s)",
    )
    for name, default in vars(Rules()).items():
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=int if isinstance(default, bool | int) else str,
            default=default,
        )
    arguments = parser.parse_args()
    if not arguments.grid and not arguments.synthetic:
        parser.error("name recorded grids with --grid, or ask for made-up ones with --synthetic N")
    arguments.numbers = [int(part) for part in arguments.random_trials.split("-")]
    arguments.grids = [synthetic_grid(seed) for seed in range(arguments.synthetic)] or [
        read_grids(arguments.grid)
    ]
    for grid in arguments.grids:
        if max(arguments.numbers) > len(grid):
            parser.error(
                f"--random-trials {max(arguments.numbers)}: the grid has {len(grid)} cells, and "
                "random search repeats none"
            )
    return arguments


def print_comparison(
    grid: Sequence[Cell],
    rules: Rules,
    *,
    num_seeds: int,
    numbers: Sequence[int],
    with_surrogate: bool,
) -> None:
    """Replay searches over `grid` and print what they save for each N of `numbers`."""
    print(
        f"{len(grid)} cells, best {max(cell.final for cell in grid):.3f}, "
        f"{sum(cell.cost for cell in grid):.0f} CPU-seconds in all"
    )
    surrogate = GridSurrogate(grid) if with_surrogate else None
    chance, ours, cost = searches(
        surrogate.drawn if surrogate else lambda _: grid, rules, range(num_seeds), max(numbers)
    )
    scores = [[best_scores(run) for run in runs] for runs in (chance, ours)]
    print_table("Best score, luck included", compare(*scores, cost, numbers))
    if surrogate:
        worth = [
            [worth_of_the_best(run, surrogate.worth) for run in runs] for runs in (chance, ours)
        ]
        print_table("What the best trial's values are worth", compare(*worth, cost, numbers))


def print_pruners(
    grid: Sequence[Cell], rules: Rules, other: str, *, num_seeds: int, numbers: Sequence[int]
) -> None:
    """What the search finds for the cost of N trainings, and how far that lies above what it finds
    with the pruner `other`.
    """
    curves, others = (
        [
            best_scores(run)
            for run in searches(lambda _: grid, one, range(num_seeds), max(numbers))[1]
        ]
        for one in (rules, dataclasses.replace(rules, pruner=other))
    )
    cost = statistics.fmean(cell.cost for cell in grid)
    for number in numbers:
        above = score_above(curves, others, number * cost)
        found = statistics.fmean(max(0.0, value_at(curve, number * cost)) for curve in curves)
        print(
            f"{number:>4} trainings: best score {found:.3f}, above {other} by "
            f"{above.value:+.3f} [{above.low:+.3f}, {above.high:+.3f}]"
        )


def print_rivals(arguments: argparse.Namespace) -> None:
    """Replay the search and its rivals on the grid, and print what each leaves on the table.

    Raises `SystemExit` where a rival's library is missing.
    """
    if importlib.util.find_spec("botorch") is None:
        raise SystemExit(
            "--tuned-on plays against BoTorch, which is not installed; "
            "uv run --group benchmarks python -m benchmarks.search.replay ... installs it"
        )
    numbers = arguments.numbers
    for grid in arguments.grids:
        kept = Kept(arguments.keep)
        game = Game(_names(arguments.grid), grid, numbers, kept)
        tuning = Game(_names(arguments.tuned_on), read_grids(arguments.tuned_on), numbers, kept)
        worth = game.surrogate.worth
        print(
            f"{len(grid)} cells, the best worth {max(worth):.3f}, on average "
            f"{statistics.fmean(worth):.3f}"
        )
        found = rows(
            game,
            tuning,
            seeds=range(arguments.seeds),
            tuning_seeds=range(arguments.tuning_seeds),
        )
        print_regrets(found, numbers, say=functools.partial(print, flush=True))


def _names(paths: Sequence[Path] | None) -> str:
    return "+".join(path.stem for path in paths or ()) or "made up"


def print_table(what: str, rows: Sequence[Row], say: Callable[[str], None] = print) -> None:
    """One line for each N."""
    say(
        f"\n{what}: what N random trials cost (CPU-seconds) and find, what the search "
        "pays for that, what it finds for a third and for all of it"
    )
    say(
        f"{'N':>4} {'cost':>8} {'find':>7} {'search pays':>12} {'ratio':>6} "
        f"{'for a third':>12} {'for all':>8}"
    )
    for row in rows:
        ratio = row.cost / row.budget
        say(
            f"{row.number:>4} {row.budget:>8.0f} {row.found:>7.3f} {row.cost:>12.0f} "
            f"{ratio:>6.2f} {row.for_a_third:>12.3f} {row.for_all:>8.3f}"
        )


def main() -> None:
    """Read or make the grids, replay, print."""
    arguments = parse_arguments()
    rules = Rules(
        **{name: type(default)(getattr(arguments, name)) for name, default in vars(Rules()).items()}
    )
    print(f"{rules}, {arguments.seeds} seeds")
    if arguments.tuned_on:
        print_rivals(arguments)
        return
    for grid in arguments.grids:
        if arguments.than_pruner:
            other, numbers = arguments.than_pruner, arguments.numbers
            print_pruners(grid, rules, other, num_seeds=arguments.seeds, numbers=numbers)
            continue
        print_comparison(
            grid,
            rules,
            num_seeds=arguments.seeds,
            numbers=arguments.numbers,
            with_surrogate=arguments.surrogate,
        )


if __name__ == "__main__":
    main()
