"""The program that sets up a Ray worker's environment and becomes the worker.

Ray's own (`ray/_private/workers/setup_worker.py`) imports Ray to do so, and the worker then imports
it again: half of what the start of a worker costs. This one needs the standard library alone. What
it does not know, it leaves to Ray's. Ray tells such a program by its file name, which is why this
one has the same (`WorkerPool::BuildProcessCommandArgs`).
"""

from __future__ import annotations

import json
import os
import runpy
import shlex
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

CONTEXT = "--serialized-runtime-env-context="
LANGUAGE = "--language="
# The fields of Ray's `RuntimeEnvContext` that are understood here.
KNOWN = {"command_prefix", "env_vars", "py_executable", "override_worker_entrypoint", "java_jars"}


def shell_command(words: Sequence[str]) -> tuple[dict[str, str], str] | None:
    """The variables and the shell command by which the worker of Ray's arguments `words` starts;
    `None` where Ray's own program has to do it: other languages than Python, variables that name
    others, and what a later Ray may ask for.
    """
    context: dict[str, Any] = {}
    language = ""
    worker = []
    for word in words:
        if word.startswith(CONTEXT):
            context = json.loads(word.removeprefix(CONTEXT))
        elif word.startswith(LANGUAGE):
            language = word.removeprefix(LANGUAGE)
        else:
            worker.append(word)
    variables = context.get("env_vars") or {}
    is_known = language == "PYTHON" and set(context) <= KNOWN and sys.platform == "linux"
    if not is_known or not worker or any("$" in value for value in variables.values()):
        return None
    worker[0] = context.get("override_worker_entrypoint") or worker[0]
    python = context.get("py_executable") or sys.executable
    command = [*(context.get("command_prefix") or []), "exec", python, *map(shlex.quote, worker)]
    return variables, " ".join(command)


def main() -> None:
    """Become the worker."""
    start = shell_command(sys.argv[1:])
    if start is None:
        ray = find_spec("ray")
        assert ray is not None and ray.origin is not None
        theirs = Path(ray.origin).parent / "_private" / "workers" / Path(__file__).name
        runpy.run_path(str(theirs), run_name="__main__")
        return
    variables, command = start
    os.environ.update(variables)
    os.execvp("bash", ["bash", "-c", command])


if __name__ == "__main__":
    main()
