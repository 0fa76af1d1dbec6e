"""Table of how often the 95 % intervals hold the truth.

uv run python -m benchmarks.statistics
"""

from __future__ import annotations

from benchmarks.statistics.coverage import METHODS, Corpus, coverage

NUM_SWEEPS = 1000
NUM_GROUPS = (8, 12, 25, 50, 100)


def main() -> None:
    """Print the share of simulated corpora whose interval holds the true recall."""
    print(f"{NUM_SWEEPS} simulated corpora a row, groups of 5 to 8 queries, true recall 0.4")
    print(f"{'groups':>6}  {'correlation':>11}  " + "  ".join(f"{name:>21}" for name in METHODS))
    for num_groups in NUM_GROUPS:
        for correlation in (0.1, 0.3, 0.6):
            corpus = Corpus(num_groups, correlation=correlation)
            held = [coverage(corpus, method, num_sweeps=NUM_SWEEPS) for method in METHODS.values()]
            cells = "  ".join(f"{share:>21.3f}" for share in held)
            print(f"{num_groups:>6}  {correlation:>11.1f}  {cells}")


if __name__ == "__main__":
    main()
