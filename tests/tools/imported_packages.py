"""Which packages a command imports, by running it in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from tests.tools.study_process import REPOSITORY

PRP = ("-c", "import sys; from orchestrator.commands.prp import main; sys.exit(main())")
SERVER = REPOSITORY / "tests" / "tools" / "forked_commands.py"


def imported_by(words: Sequence[str], home: Path) -> tuple[int, str, set[str]]:
    """(exit code, stdout and then stderr, top-level packages imported) of ``python WORDS``.

    `home` is its ``$PRP_HOME``; it runs in the repository's root.
    """
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *words],
        cwd=REPOSITORY,
        env={**os.environ, "PRP_HOME": str(home), "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    lines = done.stderr.splitlines()
    imports = [line for line in lines if line.startswith("import time:")]
    text = done.stdout + "\n".join(line for line in lines if not line.startswith("import time:"))
    return done.returncode, text, {line.split()[-1].partition(".")[0] for line in imports}


class CommandForks:
    """``with CommandForks() as forks: forks.imported_by(...)``: many commands, each in a process
    that is forked from one interpreter, which saves its start and the imports that all have.
    """

    def __enter__(self) -> CommandForks:
        self._server = subprocess.Popen(
            [sys.executable, str(SERVER)],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.communicate()

    def imported_by(self, words: Sequence[str], home: Path) -> tuple[int, str, set[str]]:
        """What the function `imported_by` returns. `home` has to be new and empty."""
        assert self._server.stdin is not None and self._server.stdout is not None
        folder = home.with_name(f"{home.name}-said")
        folder.mkdir()
        self._server.stdin.write(json.dumps([list(words), str(home), str(folder)]) + "\n")
        self._server.stdin.flush()
        code = int(self._server.stdout.readline())
        said = (folder / "stdout").read_text() + (folder / "stderr").read_text().rstrip("\n")
        modules = (folder / "modules").read_text().splitlines()
        return code, said, {name.partition(".")[0] for name in modules}
