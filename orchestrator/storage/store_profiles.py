"""Store profiles: named settings of a store in ``stores.toml``, one table each.

    [ceph]
    endpoint_url = "https://s3.example.org"
    addressing = "path"

The keys are those of the config's ``store`` table. Credentials do not belong there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prp_core.catalogue import look_up
from prp_core.documents import parse_toml
from prp_core.errors import UserError

FILE_NAME = "stores.toml"
SECRETS = ("access_key", "secret", "token", "password")


def read_store_profile(name: str, folders: Sequence[Path]) -> dict[str, Any]:
    """The table `name` of the first ``stores.toml`` in `folders`, not yet validated.

    Raises `UserError`, which lists the profiles, when there is none of that name.
    """
    paths = [folder / FILE_NAME for folder in folders]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        places = ", no ".join(map(str, paths))
        raise UserError(
            f"There is no store profile {name!r}: no {places}; write that file with a "
            f"table [{name}]"
        )
    try:
        tables = parse_toml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{path} is not TOML: {error}") from None
    table = look_up(f"store profile in {path}", name, tables)
    if not isinstance(table, dict):
        raise UserError(
            f"{path}: {name!r} is a value; write a table [{name}] with endpoint_url, "
            "region and so on"
        )
    secret = next((key for key in table if any(word in key for word in SECRETS)), None)
    if secret is not None:
        raise UserError(
            f"{path}, [{name}]: {secret!r} does not belong here; put credentials into "
            "~/.aws and name them with profile"
        )
    return table
