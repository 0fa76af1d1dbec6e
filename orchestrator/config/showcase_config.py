"""How many trials get a showcase page, and how many queries it shows."""

from __future__ import annotations

from dataclasses import dataclass

from prp_core.checks import check

MAX_QUERIES = 24  # the frames of so many queries and their neighbours stay below 2 MB


@dataclass(frozen=True, kw_only=True)
class ShowcaseConfig:
    """The showcase of a trial: a page of what it retrieves and reconstructs, in its MLflow run."""

    num_trials: int = 3
    """How many of the best finished trials get a showcase; 0: none."""
    num_queries: int = 8
    """How many validation videos it shows with their nearest neighbours, 1 to 24."""

    def __post_init__(self) -> None:
        check(
            self.num_trials >= 0,
            "showcase.num_trials",
            self.num_trials,
            "must be 0 (no showcase) or more",
        )
        rule = f"must lie in 1 to {MAX_QUERIES}: the page holds every frame itself"
        check(1 <= self.num_queries <= MAX_QUERIES, "showcase.num_queries", self.num_queries, rule)
