"""How many of the best trials are trained again with new seeds."""

from __future__ import annotations

from dataclasses import dataclass

from prp_core.checks import check


@dataclass(frozen=True, kw_only=True)
class ConfirmConfig:
    """The confirmation of a sweep: its best trials trained again, then compared."""

    num_candidates: int = 3
    """How many of the best finished trials are trained again; 0: nothing is confirmed."""
    num_seeds: int = 3
    """How many new seeds each of them is trained with, at least 2."""

    def __post_init__(self) -> None:
        rule = "must be 0 (off) or at least 2: a winner is found by comparing"
        check(
            self.num_candidates == 0 or self.num_candidates >= 2,
            "confirm.num_candidates",
            self.num_candidates,
            rule,
        )
        check(
            self.num_seeds >= 2,
            "confirm.num_seeds",
            self.num_seeds,
            "must be at least 2: an interval over seeds needs two",
        )
