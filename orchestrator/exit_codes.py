"""Exit codes of every command of this project, and errors as one line on stderr.

0 it worked, 1 it did not, 2 the input is wrong, 3 the sweep has another driver, which goes on,
130 it was interrupted.
"""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from orchestrator.config.printable import printable
from orchestrator.config.redaction import HIDDEN, redact_logs, redacted
from orchestrator.config.sweep_spec import home_dir
from prp_core.errors import PrpError, UserError

MAX_CHARACTERS = 300  # of an error that nobody foresaw
MAX_NAME = 100  # characters of a file's name in a message
# What the operating system refuses because of the file that it was given, and what to do.
OF_A_FILE = {
    errno.ENAMETOOLONG: "give it a shorter name (255 bytes for a file, 4096 for a path)",
    errno.EACCES: "give this user the right to it, or name another",
    errno.EPERM: "give this user the right to it, or name another",
    errno.EROFS: "name one on a file system that can be written (PRP_HOME, --storage, TMPDIR)",
    errno.ENOSPC: "free some space, or name one on another disk",
    errno.EDQUOT: "free some space, or name one on another disk",
    errno.EISDIR: "it is a folder; name a file",
    errno.ENOTDIR: "a part of its path is a file; name another",
    errno.ELOOP: "its symbolic links lead in a circle; name another",
}


def run_command(function: Callable[[], int | None], name: str = "prp") -> int:
    """Run a command; its exit code. Every error becomes one line on stderr.

    An error that is not one of ours leaves its traceback in a file, which the line names; exit
    code 1.
    """
    redact_logs()
    try:
        exit_code = function() or 0
        sys.stdout.flush()
        return exit_code
    except PrpError as error:
        return _complain(name, _own_error(error), error.exit_code)
    except KeyboardInterrupt:
        return _complain(name, "interrupted", 130)
    # the reader of our output has gone (`prp ... | head`): nothing is to be said at the exit
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    # the last net: whatever nobody foresaw is one line, too
    except Exception as error:  # noqa: BLE001
        if line := _about_a_file(error):
            return _complain(name, line, UserError.exit_code)
        return _complain(name, _unforeseen(error), 1)


def _own_error(error: PrpError) -> BaseException:
    """`error` as it was raised: Ray wraps one of a task in its own class, whose text is the task's
    traceback.
    """
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, PrpError) else error


def _about_a_file(error: Exception) -> str:
    """What the operating system says of a file that it refuses, and what to do; empty where
    `error` is none of `OF_A_FILE`.
    """
    if not isinstance(error, OSError) or error.filename is None or error.errno not in OF_A_FILE:
        return ""
    file = os.fsdecode(error.filename) if isinstance(error.filename, bytes) else error.filename
    text = str(file)
    if len(text) > MAX_NAME:
        text = f"{text[: MAX_NAME - 20]}...{text[-17:]}"
    return f"{text}: {error.strerror}; {OF_A_FILE[error.errno]}"


def _unforeseen(error: Exception) -> str:
    """What happened, in one line, and where its traceback lies."""
    cause = getattr(error, "cause", None)  # Ray's: what a task raised
    innermost = cause if isinstance(cause, Exception) else error
    lines = [line for line in str(innermost).splitlines() if line.strip()] or [""]
    text = f"{type(innermost).__name__}: {lines[0].strip()}"[:MAX_CHARACTERS]
    return f"{text} (unexpected; the traceback is in {_keep_traceback(error)})"


def _keep_traceback(error: Exception) -> Path | str:
    """The file that holds the traceback of `error` now: in the home, else among temporary files."""
    text = redacted(f"{_words(sys.argv)}\n\n{''.join(traceback.format_exception(error))}")
    file = f"prp-error-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    for folder in (lambda: home_dir() / "errors", lambda: Path(tempfile.gettempdir())):
        try:
            path = folder() / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            path.write_text(text)
        except (OSError, RuntimeError, PrpError):  # no home, or no right to write there
            continue
        return path
    sys.stderr.write(text)
    return "the lines above"


def _words(argv: Sequence[str]) -> str:
    """The command line, without the URL of a hook, which is a secret as a whole."""
    hidden = [
        HIDDEN if before == "--notify" else "--notify=***" if word.startswith("--notify=") else word
        for before, word in zip(["", *argv], argv, strict=False)
    ]
    return " ".join(hidden)


def _complain(name: str, error: object, exit_code: int) -> int:
    print(
        f"{name}: error: {printable(' '.join(redacted(error).split()))}"
        if exit_code != 130
        else f"{name}: {error}",
        file=sys.stderr,
    )
    return exit_code
