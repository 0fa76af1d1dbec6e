"""A sweep is called as its study's file is, unless it is given a name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.config.run_config import to_tree
from orchestrator.config.sweep_spec import SweepSpec, new_sweep_id, sweep_name_of
from orchestrator.journal.stored_sweep import open_folder
from orchestrator.sweep.plan import names_of
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


def test_an_earlier_sweep_is_found_by_the_name_that_its_spec_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRP_HOME", str(tmp_path))
    spec = SweepSpec(
        sweep_id="mine",
        config=to_tree(new_config({"settings": ["sweep.name=by-chance"]}, "study")),
        storage_uri=str(tmp_path),
        tracking_uri="",
        data_uri="",
        manifest_uri="",
        tags={},
    )
    open_folder(spec).create_spec(spec.to_values())
    assert names_of("mine") == names_of(f"{tmp_path}/sweeps/mine") == ("by-chance", "mine")
    old = "rate-search-20260101-000000-abcd"
    assert names_of(old) == ("rate-search", old), "of an earlier release"
