"""What a command imports before it knows that it has work to do: nothing that takes long.

The modules are counted, not the seconds; ``python -m benchmarks.commands`` measures those.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.commands.command import Command, Group
from orchestrator.commands.prp import COMMANDS
from tests.tools.imported_packages import PRP, CommandForks, imported_by
from tests.tools.study_process import REPOSITORY

HEAVY = {
    "boto3",
    "botocore",
    "matplotlib",
    "mlflow",
    "numpy",
    "optuna",
    "pandas",
    "pyarrow",
    "pydantic",
    "ray",
    "rich",
    "sqlalchemy",
    "torch",
    "torchvision",
}
STUDIES = sorted(path.name for path in (REPOSITORY / "sweeps").glob("[a-z]*.py"))


def leaves(commands: dict[str, Command | Group], path: tuple[str, ...] = ()) -> list[list[str]]:
    """The words of every command of the tree, groups included."""
    found = []
    for name, entry in commands.items():
        found.append([*path, name])
        if isinstance(entry, Group):
            found += leaves(dict(entry.commands), (*path, name))
    return found


@pytest.fixture(scope="module")
def forks() -> Iterator[CommandForks]:
    with CommandForks() as forks:
        yield forks


def test_an_import_is_counted(forks: CommandForks, tmp_path: Path) -> None:
    for run in (imported_by, forks.imported_by):
        code, _, packages = run(["-c", "import numpy.linalg"], tmp_path)
        assert code == 0 and packages & HEAVY == {"numpy"}


@pytest.mark.parametrize("words", [[*PRP, "statsu"], ["sweeps/rate_search.py", "--help"]], ids=str)
def test_a_fork_does_what_a_new_interpreter_does(
    words: list[str], forks: CommandForks, tmp_path: Path
) -> None:
    code, text, packages = imported_by(words, tmp_path)
    assert packages & HEAVY == set()
    assert forks.imported_by(words, tmp_path)[:2] == (code, text)


@pytest.mark.parametrize("words", [[], *leaves(COMMANDS)], ids=" ".join)
def test_help_of_a_command_imports_nothing_heavy(
    words: list[str], forks: CommandForks, tmp_path: Path
) -> None:
    code, text, packages = forks.imported_by([*PRP, *words, "--help"], tmp_path)
    assert code == 0 and "usage: " + " ".join(("prp", *words)) in text
    assert packages & HEAVY == set()


@pytest.mark.parametrize(
    ("words", "exit_code", "said"),
    [
        (["--version"], 0, "prp 0."),
        (
            ["statsu"],
            2,
            "Unknown prp command 'statsu'; known: cache, completion, config, continue, ",
        ),
        (["statsu"], 2, "Did you mean 'status'?"),
        (["data", "indx", "videos"], 2, "Did you mean 'index'?"),
        (["stop", "--help"], 0, "end this trial alone"),
        (["try", "a-sweep"], 2, "--set"),
        (["extend", "a-sweep", "--trial", "3"], 2, "--epochs"),
        (["status", "--onc"], 0, "no sweeps in"),
        (["status", "--jsn"], 2, "Unknown option '--jsn'. Did you mean '--json'?"),
        (["report", "--storge", "x"], 2, "Unknown option '--storge'. Did you mean '--storage'?"),
        (["sweep"], 0, "rate_search       Which playback rates"),
        (["sweep", "rate_serch"], 2, "Did you mean 'rate_search'?"),
        (
            ["sweep", "rate_search", "--trails", "3"],
            2,
            "prp sweep rate_search: error: Unknown option '--trails'. Did you mean '--trials'? "
            "See prp sweep rate_search --help",
        ),
        (["sweep", "mine/none.py"], 2, "There is no study "),
        (["data", "index", "x", "--lables", "t.csv"], 2, "Did you mean '--labels'?"),
        (["report", "none"], 2, "There is no sweep 'none'"),
    ],
    ids=str,
)
def test_an_answer_without_work_imports_nothing_heavy(
    words: list[str], exit_code: int, said: str, forks: CommandForks, tmp_path: Path
) -> None:
    code, text, packages = forks.imported_by([*PRP, *words], tmp_path)
    assert code == exit_code and said in text
    assert packages & HEAVY == set()


@pytest.mark.parametrize("study", STUDIES)
@pytest.mark.parametrize(
    ("words", "exit_code", "said"),
    [
        (["--help"], 0, "--warm-start"),
        (["--trails", "3"], 2, "error: Unknown option '--trails'. Did you mean '--trials'? See "),
        (["--trials", "few"], 2, "argument --trials: invalid int value: 'few'; see "),
        (["rates"], 2, "Unexpected argument 'rates'; see "),
    ],
    ids=["help", "unknown option", "wrong value", "surplus"],
)
def test_a_study_parses_its_arguments_before_it_imports(
    study: str, words: list[str], exit_code: int, said: str, forks: CommandForks, tmp_path: Path
) -> None:
    code, text, packages = forks.imported_by([f"sweeps/{study}", *words], tmp_path)
    assert code == exit_code and said in text
    assert packages & HEAVY == set()
    if exit_code:
        assert text.startswith(f"{study}: error: ") and text.count("\n") == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--set", "clip.lenght=8"], "Unknown config key 'clip.lenght'; known: "),
        (["--set", "clip.length=10"], "clip.length = 10: must be a positive multiple of 8"),
        (["--preset", "demmo"], "Unknown preset 'demmo'; known: "),
        (["--resume", "none"], "There is no sweep 'none'"),
    ],
    ids=str,
)
def test_a_study_refuses_a_wrong_config_before_it_imports(
    words: list[str], said: str, forks: CommandForks, tmp_path: Path
) -> None:
    code, text, packages = forks.imported_by(["sweeps/rate_search.py", *words], tmp_path)
    assert code == 2 and text.startswith(f"rate_search.py: error: {said}")
    assert packages & HEAVY <= {"numpy", "pydantic"}
