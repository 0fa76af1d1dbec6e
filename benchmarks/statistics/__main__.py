"""Tables of how often the printed intervals hold the truth, and of how often verdicts are right.

uv run python -m benchmarks.statistics [--sweeps 1000] [--gain-sweeps 300] [--corpora 20000]
"""

from __future__ import annotations

import argparse

from benchmarks.statistics.coverage import METHODS, Corpus, coverage
from benchmarks.statistics.rates import GAIN, coverage_rates, verdict_rates
from benchmarks.statistics.simulated_sweep import World

CORPORA = tuple(
    Corpus(num_groups, rate=rate, correlation=correlation, first_times=first_times)
    for num_groups, first_times in ((8, 1), (12, 1), (12, 8), (25, 1), (50, 1), (50, 30), (100, 1))
    for rate in (0.1, 0.4, 0.9)
    for correlation in (0.1, 0.3, 0.6)
)
WORLDS = (
    World(num_videos=48, num_groups=1),
    World(num_videos=48, num_groups=8),
    World(num_videos=48, num_groups=48),
    World(num_videos=48, num_groups=48, num_test=500),
    World(num_videos=240, num_groups=12, first_times=8),
    World(num_videos=240, num_groups=40),
    World(num_videos=500, num_groups=20, first_times=20),
    World(num_videos=500, num_groups=40, first_times=30),
    World(num_videos=500, num_groups=48, num_test=48),
    World(num_videos=500, num_groups=100),
    World(num_videos=1900, num_groups=8),
    World(num_videos=1900, num_groups=100),
    World(num_videos=3800, num_groups=100),
)


def main() -> None:
    """Print the coverage of intervals, false verdicts, and power."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sweeps", type=int, default=1000, help="simulated sweeps for each row")
    parser.add_argument("--gain-sweeps", type=int, default=300, help="where there is a true gain")
    parser.add_argument(
        "--corpora", type=int, default=20_000, help="for the printed interval; others: a tenth"
    )
    arguments = parser.parse_args()
    number = arguments.sweeps
    corpora = dict.fromkeys(METHODS, arguments.corpora // 10) | {"printed": arguments.corpora}
    print(
        f"{arguments.corpora} simulated corpora a row for what is printed, a tenth for the others;"
    )
    print("groups of 5 to 8 queries; the first group has so many times as many")
    print(f"{'groups':>6}  {'first':>5}  {'recall':>6}  {'correlation':>11}  ", end="")
    print("  ".join(f"{name:>21}" for name in METHODS))
    for one in CORPORA:
        held = [coverage(one, method, num_sweeps=corpora[name]) for name, method in METHODS.items()]
        cells = "  ".join(f"{share:>21.3f}" for share in held)
        print(
            f"{one.num_groups:>6}  {one.first_times:>5}  {one.rate:>6.1f}  "
            f"{one.correlation:>11.1f}  {cells}",
            flush=True,
        )
    error = 1.96 * (0.05 * 0.95 / number) ** 0.5
    print(f"\na verdict that is false in 5 % of all sweeps is so in 0.050 +- {error:.3f} of these")
    for world in WORLDS:
        num_test = world.num_test or world.num_videos
        print(
            f"\n{world.num_videos} validation and {num_test} test videos in {world.num_groups} "
            f"groups each, the first {world.first_times} times as large, {number} sweeps"
        )
        for what, share in coverage_rates(world, number).items():
            print(f"  {share:.3f}  of the 95 % intervals of {what} hold the truth")
        for gain, pretraining in ((0.0, 0.0), (GAIN, 0.0), (0.0, GAIN)):
            sweeps = arguments.gain_sweeps if gain or pretraining else number
            rates = verdict_rates(world, sweeps, gain=gain, pretraining=pretraining)
            print(
                f"  true gain of one rate set {gain:.2f}, of pretraining {pretraining:.2f}, "
                f"{sweeps} sweeps:"
            )
            for what, share in rates.items():
                print(f"    {share:.3f}  {what}", flush=True)


if __name__ == "__main__":
    main()
