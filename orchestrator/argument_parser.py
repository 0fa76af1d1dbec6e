"""An argument parser whose errors are one line with the nearest known option."""

from __future__ import annotations

import argparse
import sys
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
        words = list(sys.argv[1:] if args is None else args)
        takes_rest = any(action.nargs == argparse.REMAINDER for action in self._actions)
        if not takes_rest:
            self._refuse_unknown_option(words)
        arguments, rest = self.parse_known_args(words, namespace)
        if not rest:
            return arguments
        options = [word.partition("=")[0] for word in rest if word.startswith("-")]
        if not options:
            self.error(f"Unexpected argument {rest[0]!r}")
        raise self._unknown_option(options[0])

    def _refuse_unknown_option(self, words: Sequence[str]) -> None:
        """Raise `UserError` for an option that nothing begins with: before what is missing."""
        for word in words:
            if word == "--":
                return
            name = word.partition("=")[0]
            known = self._option_string_actions
            if name.startswith("--") and not any(option.startswith(name) for option in known):
                raise self._unknown_option(name)

    def _unknown_option(self, name: str) -> UserError:
        near = get_close_matches(name, self._option_string_actions, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return UserError(f"Unknown option {name!r}.{hint} See {self.prog} --help")
