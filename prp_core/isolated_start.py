"""The command and the environment of a child process: a safe import path, and no secrets.

A child started with ``python -m`` imports from its working directory first, so that a ``numpy.py``
beside the videos would run in it. Here it starts with ``-I`` (neither the working directory nor
``PYTHON*`` variables count), finds the libraries of its parent behind its own, and loads this
package from this very folder. Of its parent's environment it sees what `KEPT_VARIABLES` names.
"""

from __future__ import annotations

import importlib.util
import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

PACKAGE_DIR = Path(__file__).resolve().parent
# What a library needs in order to load, to name things and to limit itself.
KEPT_VARIABLES = (
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "PATH",
    "SYSTEMROOT",
    "TMPDIR",
    "TZ",
)


def isolated_command(
    module: str, arguments: Sequence[object], *, libraries: Sequence[str] = ()
) -> list[str]:
    """The command line that runs `module` of this package as a program, as ``python -m`` would.

    `libraries` are packages that the child imports: where this process finds them elsewhere than in
    the interpreter's own folders, the child looks there too, after its own folders, but never in
    the working directory.
    """
    folders = os.pathsep.join(_folders_of(libraries))
    words = [sys.executable, "-I", __file__, folders, module]
    return [*words, *map(str, arguments)]


def small_environment(
    added: Mapping[str, str] | None = None,
    *,
    also_kept: Sequence[str] = (),
    environment: Mapping[str, str] = os.environ,
) -> dict[str, str]:
    """The variables of `KEPT_VARIABLES` and `also_kept` that `environment` has, and `added`.

    No credentials of a store, a tracker or a database are among them.
    """
    names = (*KEPT_VARIABLES, *also_kept)
    return {name: environment[name] for name in names if name in environment} | dict(added or {})


def _folders_of(libraries: Sequence[str]) -> list[str]:
    """The folders of this process's import path in which `libraries` lie."""
    here = Path.cwd().resolve()
    folders = []
    for name in libraries:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            continue
        folder = Path(spec.origin).resolve().parent
        folder = folder.parent if spec.submodule_search_locations else folder
        if folder != here and str(folder) not in folders:
            folders.append(str(folder))
    return folders


def main() -> None:
    """Run the module that the command line names, in the process that it describes."""
    _, folders, module = sys.argv[:3]
    del sys.argv[1:3]
    sys.path.extend(folder for folder in folders.split(os.pathsep) if folder not in ("", *sys.path))
    name = PACKAGE_DIR.name
    spec = importlib.util.spec_from_file_location(
        name, PACKAGE_DIR / "__init__.py", submodule_search_locations=[str(PACKAGE_DIR)]
    )
    assert spec is not None and spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules[name] = package
    spec.loader.exec_module(package)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
