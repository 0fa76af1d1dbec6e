"""A sweep is called as its study's file is, unless it is given a name."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.config.sweep_spec import new_sweep_id, sweep_name_of
from orchestrator.sweep.settings import new_config, study_name
from sweeps import generated_rates, rate_search


class CallableSpace:
    """A space need not be a function."""

    def __call__(self, trial: Any) -> None:
        trial.suggest_categorical("clip.length", [8, 16])


@pytest.mark.parametrize(
    ("preset", "settings", "space", "name"),
    [
        ("demo", [], rate_search.space, "rate-search"),
        ("demo", [], generated_rates.space, "generated-rates"),
        ("ucf101_r3d", [], generated_rates.space, "generated-rates-ucf101"),
        ("demo", [], CallableSpace(), "test-study-names"),
        ("demo", ["sweep.name=by-chance"], rate_search.space, "by-chance"),
        ("demo", ["sweep.name=mine-{study}"], rate_search.space, "mine-rate-search"),
    ],
)
def test_a_sweep_is_named_after_its_study(
    preset: str, settings: list[str], space: Any, name: str
) -> None:
    options = {"preset": preset, "settings": settings}
    assert new_config(options, study_name(space)).sweep.name == name


@pytest.mark.parametrize("name", ["rate-search", "a", "by_model.2"])
def test_an_id_tells_the_name(name: str) -> None:
    assert sweep_name_of(new_sweep_id(name)) == name
    assert sweep_name_of(name) == name, "one that a person chose"
