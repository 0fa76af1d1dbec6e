"""Tables of how often the printed intervals hold the truth, and of how often verdicts are right.

uv run python -m benchmarks.statistics [--sweeps 1000]
"""

from __future__ import annotations

import argparse

from benchmarks.statistics.coverage import METHODS, Corpus, coverage
from benchmarks.statistics.rates import GAIN, coverage_rates, verdict_rates
from benchmarks.statistics.simulated_sweep import World

NUM_GROUPS = (8, 12, 25, 50, 100)
WORLDS = (
    World(num_videos=48, num_groups=1),
    World(num_videos=48, num_groups=8),
    World(num_videos=48, num_groups=48),
    World(num_videos=48, num_groups=48, num_test=500),
    World(num_videos=240, num_groups=40),
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
    number = parser.parse_args().sweeps
    print(f"{number} simulated corpora a row, groups of 5 to 8 queries")
    print(f"{'groups':>6}  {'recall':>6}  {'correlation':>11}  ", end="")
    print("  ".join(f"{name:>21}" for name in METHODS))
    for num_groups in NUM_GROUPS:
        for rate in (0.1, 0.4, 0.9):
            for correlation in (0.1, 0.3, 0.6):
                corpus = Corpus(num_groups, rate=rate, correlation=correlation)
                held = [coverage(corpus, method, num_sweeps=number) for method in METHODS.values()]
                cells = "  ".join(f"{share:>21.3f}" for share in held)
                print(f"{num_groups:>6}  {rate:>6.1f}  {correlation:>11.1f}  {cells}")
    error = 1.96 * (0.05 * 0.95 / number) ** 0.5
    print(f"\na verdict that is false in 5 % of all sweeps is so in 0.050 +- {error:.3f} of these")
    for world in WORLDS:
        num_test = world.num_test or world.num_videos
        print(
            f"\n{world.num_videos} validation and {num_test} test videos in {world.num_groups} "
            f"groups each, {number} sweeps"
        )
        for what, share in coverage_rates(world, number).items():
            print(f"  {share:.3f}  of the 95 % intervals of {what} hold the truth")
        for gain, pretraining in ((0.0, 0.0), (GAIN, 0.0), (0.0, GAIN)):
            rates = verdict_rates(world, number, gain=gain, pretraining=pretraining)
            print(f"  true gain of one rate set {gain:.2f}, of pretraining {pretraining:.2f}:")
            for what, share in rates.items():
                print(f"    {share:.3f}  {what}")


if __name__ == "__main__":
    main()
