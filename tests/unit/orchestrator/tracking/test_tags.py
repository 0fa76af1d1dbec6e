"""Values within MLflow's limits."""

from __future__ import annotations

from orchestrator.tracking.tags import shortened


def test_long_values_are_cut_but_stay_different() -> None:
    assert shortened("x" * 100, 100) == "x" * 100
    one, other = shortened("x" * 9000 + "a", 6000), shortened("x" * 9000 + "b", 6000)
    assert len(one) == len(other) == 6000
    assert one != other
    assert "9001 characters" in one
