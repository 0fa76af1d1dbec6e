"""Campaigns run only when they are asked for: ``pytest -m campaign tests/campaigns``."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take campaigns out unless ``-m`` names them."""
    if "campaign" in (config.getoption("markexpr") or ""):
        return
    campaigns = [item for item in items if item.get_closest_marker("campaign")]
    if campaigns:
        config.hook.pytest_deselected(items=campaigns)
        items[:] = [item for item in items if not item.get_closest_marker("campaign")]
