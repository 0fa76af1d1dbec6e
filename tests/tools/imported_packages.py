"""Which packages a command imports, by running it in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.tools.study_process import REPOSITORY

PRP = ("-c", "import sys; from orchestrator.commands.prp import main; sys.exit(main())")


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
