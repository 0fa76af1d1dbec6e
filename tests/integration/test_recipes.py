"""Each recipe of `docs/adding/` works as written, and needs no more than it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.recipes import PAGES, apply, copy_project, read_recipes

RECIPES = [recipe for page in PAGES for recipe in read_recipes(page.read_text())]

# The name under which the contract suite of a recipe knows the new entry.
NAMES = {
    "An encoder": "strided_small",
    "A pretext task": "motion_level",
    "A reader": "threaded",
    "A storage backend": "mount",
    "An evaluation": "nearest_mean",
    "A sampler": "qmc",
    "A pruner": "quartile",
    "An augmentation": "inversion",
    "A dimension to search": "rate_search",
    "A study": "clip_lengths",
}
ARCHITECTURE = (
    "tests/architecture/test_walls.py",
    "tests/architecture/test_import_law.py",
)


def run_tests(root: Path, *arguments: str) -> str:
    """What pytest printed for the project below `root`; fails with it unless all passed."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")
    }
    command = [sys.executable, "-m", "pytest", "-n", "0", "-v", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *arguments],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


def test_the_recipes_are_those_of_the_catalogues() -> None:
    assert {recipe.title for recipe in RECIPES} == set(NAMES)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with every recipe applied."""
    root = tmp_path_factory.mktemp("recipes")
    copy_project(root)
    for recipe in RECIPES:
        apply(recipe, root)
    return root


def test_the_contract_suites_pass_on_what_the_recipes_add(project: Path) -> None:
    suites = sorted({recipe.suite for recipe in RECIPES})
    printed = run_tests(project, *suites, "-k", " or ".join(NAMES.values()))
    for recipe in RECIPES:
        name = NAMES[recipe.title]
        passed = re.findall(rf"^{re.escape(recipe.suite)}::.*{name}.* PASSED", printed, re.M)
        assert passed, f"{recipe.title}: {recipe.suite} holds no test of {name}"


def test_what_the_recipes_add_keeps_the_rules_of_the_house(project: Path) -> None:
    printed = run_tests(project, *ARCHITECTURE, "-k", "not import_linter and not unlisted")
    assert "strided.py" in printed and "PASSED" in printed


def test_a_recipe_that_leaves_something_out_fails(tmp_path: Path) -> None:
    """Without its line in the catalogue the encoder is tested by nobody."""
    pages = "\n".join(page.read_text() for page in PAGES)
    page = pages.replace('+    "strided_small": _strided_small,\n', "+    # nothing\n")
    broken = next(recipe for recipe in read_recipes(page) if recipe.title == "An encoder")
    copy_project(tmp_path)
    apply(broken, tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", "-q", broken.suite, "-k", "strided_small"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 5, done.stdout[-2000:]
