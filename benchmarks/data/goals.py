"""The figures that loading is held to, and what a run of the benchmarks makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.data.measure import Figure


@dataclass(frozen=True)
class Goal:
    """A figure and the goal that it should reach.

    `figure` of `what` shall be at least `goal`, or at most where `at_most`. `unit` is "x" for a
    ratio, "%" for a share.
    """

    what: str
    figure: float
    goal: float
    unit: str = "x"
    at_most: bool = False

    @property
    def reached(self) -> bool:
        """Whether it is."""
        return self.figure <= self.goal if self.at_most else self.figure >= self.goal

    def line(self) -> str:
        """A row of the table."""
        sign = "<=" if self.at_most else ">="
        figure, goal = (
            f"{value:.0%}" if self.unit == "%" else f"{value:.2f}{self.unit}"
            for value in (self.figure, self.goal)
        )
        return f"| {self.what} | {figure} | {sign} {goal} | {'yes' if self.reached else '**no**'} |"


def ratio_goals(
    name: str,
    figures: Sequence[Figure],
    ours: str,
    paper: str,
    limit: str,
    *,
    times: float,
    share: float | None,
) -> list[Goal]:
    """The goals of `ours` against the paper's way and, with `share`, against the table's limit."""
    medians = {figure.name: figure.median for figure in figures}
    goals = [
        Goal(f"{name}: {ours}, against the paper's way", medians[ours] / medians[paper], times)
    ]
    if share is not None:
        goals.append(
            Goal(
                f"{name}: {ours}, of the decoder's limit",
                medians[ours] / medians[limit],
                share,
                "%",
            )
        )
    return goals


def goals_table(goals: Sequence[Goal]) -> str:
    """Markdown."""
    return "\n".join(
        [
            "| what | figure | goal | reached |",
            "|---|---|---|---|",
            *(goal.line() for goal in goals),
        ]
    )
