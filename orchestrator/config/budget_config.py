"""The limits of a sweep's cost, in GPU-hours, CPU-hours and USD."""

from __future__ import annotations

from dataclasses import dataclass

from prp_core.checks import check

UNITS = {"gpu_hours": "GPU-hours", "cpu_hours": "CPU-hours", "usd": "USD"}


@dataclass(frozen=True, kw_only=True)
class BudgetConfig:
    """The limits of a whole sweep; the first that is reached ends the search."""

    gpu_hours: float = 0.0
    """The most GPU-hours that all tasks of the sweep may hold; 0: no limit."""
    cpu_hours: float = 0.0
    """The most CPU-hours that all tasks of the sweep may hold; 0: no limit."""
    usd: float = 0.0
    """The most USD that the sweep may cost, by the prices of its machines; 0: no limit."""
    prices: str = ""
    """A price list to use instead of `cluster/prices.toml`, in its form; empty: that one."""

    def __post_init__(self) -> None:
        for name in UNITS:
            check(
                getattr(self, name) >= 0,
                f"budget.{name}",
                getattr(self, name),
                "must not be negative (0: no limit)",
            )

    @property
    def is_limited(self) -> bool:
        """Whether there is any limit."""
        return any(getattr(self, name) > 0 for name in UNITS)

    @property
    def words(self) -> str:
        """``40 GPU-hours or 60 USD``; empty without a limit."""
        return " or ".join(
            f"{getattr(self, name):g} {unit}"
            for name, unit in UNITS.items()
            if getattr(self, name) > 0
        )
