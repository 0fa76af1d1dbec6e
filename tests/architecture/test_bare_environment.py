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
DECODERS = ("decord", "av")
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
    "simplejpeg",
    "orchestrator",
    "cluster",
)

IMPORT_EVERYTHING = """
import importlib, importlib.util, pkgutil, sys
import prp_core
heavy = [name for name in sys.modules if name.split(".")[0] in ("torch", "numpy")]
assert not heavy, "importing prp_core itself imports nothing"
found = pkgutil.walk_packages(prp_core.__path__, "prp_core.")
names = ["prp_core", *(module.name for module in found)]
for name in names:
    try:
        importlib.import_module(name)
        print("imported", name)
    except ModuleNotFoundError as error:
        print("needs", name, error.name)
print("present", *(name for name in sys.argv[1:] if importlib.util.find_spec(name)))
"""

TRAIN_ONE_STEP = """
import sys
import torch
from prp_core.numerics import set_determinism
from prp_core.training.optimisers import OPTIMISERS
from prp_core.training.pretrain_config import PretrainConfig
from prp_core.pretext.network import PrpNetwork
from prp_core.pretext.playback_rate import PlaybackRate, rate_loss
from prp_core.pretext.pretext_config import PretextTasks

set_determinism(False)
torch.set_num_threads(1)
torch.manual_seed(PretrainConfig().seed)
tasks = PretextTasks(playback_rate=PlaybackRate(rates="1-2"))
network = PrpNetwork("r3d_small", tasks)
groups = [{"params": list(network.parameters())}]
optimiser = OPTIMISERS["sgd"](
    groups, learning_rate=0.01, momentum=0.9, weight_decay=0.0, fused=False
)
clip_BCTHW, rate_labels_B = torch.rand(2, 3, 8, 32, 32), torch.tensor([0, 1])
for _ in range(2):
    loss = rate_loss(network(clip_BCTHW)["playback_rate"], rate_labels_B)
    print(loss.item(), end=" ")
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
optimiser.load_state_dict(optimiser.state_dict())
print("torch._dynamo" in sys.modules)
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
    """The interpreter of a new virtual environment that holds `INSTALLED`, what they require, and
    `prp_core`.

    The distributions' top-level entries are links to where they are installed now, so nothing is
    copied or fetched.
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


def run_bare(python: Path, code: str, *arguments: str) -> list[list[str]]:
    """Run `code` in the bare environment; the words of each line that it printed."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PYTHON")
    }
    command = [str(python), "-I", "-c", code, *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=200, cwd=python.parent, env=environment
    )
    assert done.returncode == 0, done.stderr
    return [line.split() for line in done.stdout.splitlines() if line]


def test_every_module_imports_with_torch_alone(bare_python: Path) -> None:
    """A decoder's own files may need that decoder: `READERS` loads them when they are chosen.
    Nothing else needs anything else.
    """
    printed = run_bare(bare_python, IMPORT_EVERYTHING, *ABSENT)
    assert ["present"] in printed, "the environment is not bare"
    needs = {words[1]: words[2] for words in printed if words[0] == "needs"}
    assert all(
        name.startswith("prp_core.data.readers.") and library in DECODERS
        for name, library in needs.items()
    ), needs
    imported = {words[1] for words in printed if words[0] == "imported"}
    files = (
        path.relative_to(REPOSITORY).with_suffix("")
        for path in (REPOSITORY / "prp_core").rglob("*.py")
    )
    assert imported | needs.keys() == {
        ".".join(path.parts).removesuffix(".__init__") for path in files
    }
    assert {
        "prp_core.data.readers",
        "prp_core.training.loop",
        "prp_core.evaluation.retrieval",
    } <= imported


def test_it_trains_with_torch_alone_and_without_its_compiler(bare_python: Path) -> None:
    """Importing the compiler takes more CPU time than a short trial trains."""
    printed = run_bare(bare_python, TRAIN_ONE_STEP)
    *losses, has_compiler = printed[0]
    assert len(losses) == 2 and float(losses[1]) < float(losses[0])
    assert has_compiler == "False"


def test_the_closure_is_what_was_asked_for() -> None:
    names = closure(INSTALLED)
    assert {"torch", "numpy", "typing-extensions", "jinja2"} <= set(names)
    assert not set(names) & set(ABSENT)
    assert Path(sys.prefix) in Path(str(names["torch"].locate_file("torch"))).parents
