"""A server whose forks run Python programs (``prp``, study scripts) without a new interpreter.

It imports what ``prp`` does before it knows its command, and nothing else. A line of its standard
input asks for one run: JSON of ``[words, home, folder]``. The program's output goes to ``stdout``
and ``stderr`` in the folder, the names of all its modules to ``modules``; the answer is its exit
code.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import traceback
from pathlib import Path
from typing import NoReturn

from orchestrator.commands import prp

assert prp.COMMANDS


def serve() -> None:
    """Run what each line asks for, until there are no more."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _run(*json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _run(words: list[str], home: str, folder: str) -> NoReturn:
    """Be the process of ``python WORDS`` and end it."""
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT), descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ["PRP_HOME"] = home
    code = 1
    try:
        code = _exit_code(words)
    except BaseException:  # noqa: BLE001 - as an interpreter ends with any error's traceback
        traceback.print_exc()
    Path(folder, "modules").write_text("\n".join(sys.modules))
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(code)


def _exit_code(words: list[str]) -> int:
    """What ``python WORDS`` exits with."""
    is_program = words[0] == "-c"
    sys.argv = ["-c", *words[2:]] if is_program else words
    sys.path[0] = "" if is_program else str(Path(words[0]).parent)
    try:
        if is_program:
            exec(compile(words[1], "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102
        else:
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    serve()
