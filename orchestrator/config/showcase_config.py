"""How many trials get a showcase page, and how many queries it shows."""

from __future__ import annotations

from dataclasses import dataclass

from prp_core.checks import check

MAX_QUERIES = 24  # of the frames that a query and its neighbours take, so many stay below 2 MB


@dataclass(frozen=True, kw_only=True)
class ShowcaseConfig:
    """The best `num_trials` finished trials get a showcase each, 0: none; it shows the neighbours
    of `num_queries` validation videos.
    """

    num_trials: int = 3
    num_queries: int = 8

    def __post_init__(self) -> None:
        check(
            self.num_trials >= 0,
            "showcase.num_trials",
            self.num_trials,
            "must be 0 (no showcase) or more",
        )
        rule = f"must lie in 1 to {MAX_QUERIES}: the page holds every frame itself"
        check(1 <= self.num_queries <= MAX_QUERIES, "showcase.num_queries", self.num_queries, rule)
