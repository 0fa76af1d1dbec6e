"""The two checks of config values, which every config dataclass uses."""

from __future__ import annotations

from collections.abc import Iterable

from prp_core.catalogue import unknown
from prp_core.errors import UserError


def check(ok: bool, path: str, value: object, rule: str) -> None:
    """Raise `UserError` ``path = value: rule`` unless `ok`."""
    if not ok:
        raise UserError(f"{path} = {value!r}: {rule}")


def check_choice(path: str, value: str, choices: Iterable[str]) -> None:
    """Raise `UserError` with the nearest choice unless `value` is one of `choices`."""
    if value not in choices:
        raise unknown(f"value of {path}", value, choices)
