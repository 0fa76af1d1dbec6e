"""`prp_core` works where only torch and numpy are installed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.architecture.source_tree import REPOSITORY

INSTALLED = ("torch", "numpy")
ABSENT = (
    "ray",
    "mlflow",
    "optuna",
    "boto3",
    "botocore",
    "decord",
    "av",
    "pydantic",
    "pyarrow",
    "safetensors",
    "rich",
    "torchvision",
    "orchestrator",
    "cluster",
)

IMPORT_EVERYTHING = """
import importlib, importlib.util, pkgutil, sys
import prp_core
assert not [name for name in sys.modules if name.split(".")[0] in ("torch", "numpy")], "importing prp_core itself imports nothing"
names = ["prp_core", *(module.name for module in pkgutil.walk_packages(prp_core.__path__, "prp_core."))]
for name in names:
    importlib.import_module(name)
print("imported", *names)
print("present", *(name for name in sys.argv[1:] if importlib.util.find_spec(name)))
"""


def closure(names: tuple[str, ...]) -> dict[str, Distribution]:
    """The distributions called `names` and all that they require here, by normalised name."""
    found: dict[str, Distribution] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key in found:
            continue
        found[key] = distribution(name)
        for requirement in map(Requirement, found[key].requires or []):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    return found


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new virtual environment that holds `INSTALLED`, what they require, and `prp_core`.

    The distributions' top-level entries are links to where they are installed now, so nothing is copied or fetched.
    """
    home = tmp_path_factory.mktemp("bare")
    venv.create(home, with_pip=False, symlinks=True)
    site_packages = next(home.glob("lib/python3*/site-packages"))
    for name, installed in closure(INSTALLED).items():
        files = installed.files
        assert files, f"{name} does not list its files"
        for top_level in {file.parts[0] for file in files} - {"..", "__pycache__", "/"}:
            link = site_packages / top_level
            if not link.exists():
                link.symlink_to(Path(str(installed.locate_file(top_level))))
    (site_packages / "prp_core").symlink_to(REPOSITORY / "prp_core")
    return home / "bin" / "python"


def run_bare(python: Path, code: str, *arguments: str) -> dict[str, list[str]]:
    """Run `code` in the bare environment; what it printed, by the first word of each line."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [str(python), "-I", "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, cwd=python.parent, env=environment)
    assert done.returncode == 0, done.stderr
    return {words[0]: words[1:] for words in map(str.split, done.stdout.splitlines()) if words}


def test_every_module_imports_with_torch_alone(bare_python: Path) -> None:
    printed = run_bare(bare_python, IMPORT_EVERYTHING, *ABSENT)
    assert printed["present"] == [], "the environment is not bare"
    expected = {
        ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__") for path in (REPOSITORY / "prp_core").rglob("*.py")
    }
    assert set(printed["imported"]) == expected


def test_the_closure_is_what_was_asked_for() -> None:
    names = closure(INSTALLED)
    assert {"torch", "numpy", "typing-extensions", "jinja2"} <= set(names)
    assert not set(names) & set(ABSENT)
    assert Path(sys.prefix) in Path(str(names["torch"].locate_file("torch"))).parents
