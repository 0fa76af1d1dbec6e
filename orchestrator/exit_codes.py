"""Exit codes of every command of this project, and errors as one line on stderr.

0 it worked, 1 it did not, 2 the input is wrong, 3 the sweep has another driver, which goes on,
130 it was interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from orchestrator.config.redaction import redact_logs, redacted
from prp_core.errors import PrpError


def run_command(function: Callable[[], int | None], name: str = "prp") -> int:
    """Run a command; its exit code. Errors of ours become one line on stderr, no traceback."""
    redact_logs()
    try:
        exit_code = function() or 0
        sys.stdout.flush()
        return exit_code
    except PrpError as error:
        return _complain(name, error, error.exit_code)
    except KeyboardInterrupt:
        return _complain(name, "interrupted", 130)
    # the reader of our output has gone (`prp ... | head`): nothing is to be said at the exit
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _complain(name: str, error: object, exit_code: int) -> int:
    print(
        f"{name}: error: {' '.join(redacted(error).split())}"
        if exit_code != 130
        else f"{name}: {error}",
        file=sys.stderr,
    )
    return exit_code
