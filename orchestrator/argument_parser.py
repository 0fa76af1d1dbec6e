"""An argument parser whose errors are one line with the nearest known option."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

from prp_core.errors import UserError


class ArgumentParser(argparse.ArgumentParser):
    """`argparse.ArgumentParser` that raises `UserError` instead of printing its usage and exiting.

    ``Unknown option '--trails'. Did you mean '--trials'? See rate_search.py --help``
    """

    def error(self, message: str) -> NoReturn:
        """Raise `UserError` with `message` and where the help is."""
        raise UserError(f"{message}; see {self.prog} --help")

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> argparse.Namespace:
        """The parsed arguments. Raises `UserError` for the first word that is none of them."""
        arguments, rest = self.parse_known_args(args, namespace)
        if not rest:
            return arguments
        options = [word.partition("=")[0] for word in rest if word.startswith("-")]
        if not options:
            self.error(f"Unexpected argument {rest[0]!r}")
        near = get_close_matches(options[0], self._option_string_actions, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UserError(f"Unknown option {options[0]!r}.{hint} See {self.prog} --help")
