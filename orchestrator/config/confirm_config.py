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
    max_seeds: int = 6
    """How many new seeds the undecided ones are given at most: seeds are doubled until one beats
    every other, or the budget ends; `num_seeds` or less: none are added."""
    margin: float = 0.02
    """The expected loss, in recall@1 (0 to 1), up to which the cheapest to train is taken of those
    that cannot be told apart; 0: always the best."""

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
        check(
            0 <= self.margin < 1,
            "confirm.margin",
            self.margin,
            "must be a difference of recall@1, from 0 to less than 1, for example 0.02",
        )
