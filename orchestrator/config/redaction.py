"""Redaction of passwords in addresses, and the refusal of addresses that hold one.

An address ends up in specs, tags, reports, logs and on command lines. A password that a variable or
a file can carry is refused where the address comes in; what is shown passes `redacted`, for
addresses of elsewhere: an older sweep, a library's error. What a process logs passes it as well,
without the values of the variables that hold its credentials (`redact_logs`).
"""

from __future__ import annotations

import logging
import operator
import os
import re
import sys
import threading
import traceback
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from orchestrator.config.secret_forms import (
    DATABASE_PASSWORDS,
    MAYBE_RANDOM,
    NAME_AND_VALUE,
    PASSWORD_WITH_SLASH,
    PRIVATE_KEY,
    RANDOM_HINTS,
    SECRET_FORMS,
    SECRET_NAMES,
    SECRET_WORDS,
    TOKENS,
    USER_PART,
)
from prp_core.errors import UserError

HIDDEN = "***"
_FORMATTER = logging.Formatter()
WEB = ("http:", "https:")
# Variables whose values are credentials; a name that ends with one of the others is a place.
SECRET_VARIABLE = re.compile(
    r"KEY(_|$)|SECRET|TOKEN|PASSWORD|PASSWD|PASSPHRASE|_PWD$|PASS$|CREDENTIAL|CONNECTION_STRING"
    r"|CONN_STR|DATABASE_URL$|TRACKING_USERNAME$|WEBHOOK|COOKIE|BEARER|(^|_)(AUTH|SAS|PAT|JWT|DSN)$"
)
NOT_SECRET = ("_FILE", "_PATH", "_DIR", "_URI", "_MODE")
LONGEST_ADDRESS = 10_000  # characters
MIN_RANDOM_CHARACTERS = 16
MIN_SHARE_OF_CHANGES = 0.45  # of random letters and digits it is 0.62, of words less
MIN_SECRET_CHARACTERS = 8  # a shorter value is a word of other lines as well
# (what it opens, where its password belongs) by the first word of the scheme
REMEDIES: Mapping[str, str] = {
    "http": "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
    "https": "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
    "postgresql": "~/.pgpass, or the variables PGUSER and PGPASSWORD",
    "postgres": "~/.pgpass, or the variables PGUSER and PGPASSWORD",
    "mysql": "the file that read_default_file names",
}


def redacted(text: object) -> str:
    """`text` with the passwords and tokens in it replaced by ``***``: of addresses, of settings, of
    requests' heads, of hooks' URLs, and what has the form of a known service's token.

    The user's name stays; of a web address, where it may be a token, it goes as well when it stands
    alone.
    """
    whole = NAME_AND_VALUE.sub(rf"\g<1>{HIDDEN}", PRIVATE_KEY.sub(HIDDEN, str(text)))
    lines = whole.splitlines(keepends=True)
    return TOKENS.sub(HIDDEN, "".join(map(_redacted_line, lines)))


def _redacted_line(line: str) -> str:
    lower = line.lower()
    if "://" in lower or ":\\/" in lower:
        for form in DATABASE_PASSWORDS:
            line = form.sub(rf"\g<1>{HIDDEN}", line)
        line = PASSWORD_WITH_SLASH.sub(rf"\g<1>\g<2>:{HIDDEN}@", USER_PART.sub(_hide, line))
    for hints, forms in SECRET_FORMS.items():
        if any(hint in lower for hint in hints):
            for form in forms:
                line = form.sub(rf"\g<1>{HIDDEN}", line)
    if any(hint in lower for hint in RANDOM_HINTS):
        line = MAYBE_RANDOM.sub(_hide_random, line)
    return line


def _hide_random(found: re.Match[str]) -> str:
    return f"{found[1]}{HIDDEN}" if is_random(found[2]) else found[0]


def is_random(value: str) -> bool:
    """Whether `value` looks drawn at random: capitals, small letters and digits that follow one
    another too often for words, numbers and names of files. No checksum in hexadecimal does.
    """
    run = max(re.findall(r"[A-Za-z0-9+]+", value), key=len, default="")
    kinds = ["aA0"[one.isupper() + 2 * one.isdigit()] for one in run]
    changes = sum(map(operator.ne, kinds, kinds[1:]))
    return (
        len(run) >= MIN_RANDOM_CHARACTERS
        and len(set(kinds)) == 3
        and changes >= MIN_SHARE_OF_CHANGES * len(run)
    )


def redact_logs() -> None:
    """Let every log record that this process makes from now on pass `redacted`, its traceback
    included, whichever library makes it, and the traceback of a thread that ends with an error, or
    of an error that cannot be raised (in a ``__del__``).

    The values of this process's variables that hold credentials are hidden there, too.
    """
    make = logging.getLogRecordFactory()
    if getattr(make, "is_redacting", False):
        return
    secrets = secret_values(os.environ)

    def make_redacted(*arguments: Any, **named: Any) -> logging.LogRecord:
        record = make(*arguments, **named)
        try:
            text = record.getMessage()
        # the handler complains of a message that cannot be made
        except Exception:  # noqa: BLE001
            return record
        shown = without_secrets(text, secrets)
        if shown != text:
            record.msg = shown
            record.args = ()
        if record.exc_info:
            record.exc_text = without_secrets(_FORMATTER.formatException(record.exc_info), secrets)
        return record

    def show_redacted(failed: threading.ExceptHookArgs) -> None:
        if failed.exc_type is SystemExit:
            return
        told = traceback.format_exception(failed.exc_type, failed.exc_value, failed.exc_traceback)
        name = failed.thread.name if failed.thread else "?"
        lines = f"Exception in thread {name}:\n{''.join(told)}"
        sys.stderr.write(without_secrets(lines, secrets))

    def show_ignored(ignored: sys.UnraisableHookArgs) -> None:
        told = traceback.format_exception(
            ignored.exc_type, ignored.exc_value, ignored.exc_traceback
        )
        lines = f"{ignored.err_msg or 'Exception ignored in'} {ignored.object!r}:\n{''.join(told)}"
        sys.stderr.write(without_secrets(lines, secrets))

    make_redacted.is_redacting = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(make_redacted)
    threading.excepthook = show_redacted
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = show_ignored


def secret_values(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The values of the variables in `environment` that hold credentials, and the passwords of
    addresses in any of them, also as addresses spell them; the longest first.
    """
    named = {
        value
        for name, value in environment.items()
        if SECRET_VARIABLE.search(name.upper()) and not name.upper().endswith(NOT_SECRET)
    }
    in_addresses = {
        found[2].partition(":")[2]
        for value in environment.values()
        if len(value) < LONGEST_ADDRESS
        for found in USER_PART.finditer(value)
    }
    values = named | in_addresses
    found = values | {unquote(value) for value in values} | {quote(value, "") for value in values}
    long = (value for value in found if len(value) >= MIN_SECRET_CHARACTERS)
    return tuple(sorted(long, key=lambda value: (-len(value), value)))


def without_secrets(text: str, secrets: tuple[str, ...]) -> str:
    """`text` as `redacted` shows it, with each of `secrets` replaced by ``***``."""
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return redacted(text)


def _hide(found: re.Match[str]) -> str:
    scheme, user_part = found.groups()
    user, colon, _ = user_part.partition(":")
    if colon:
        return f"{scheme}{user}:{HIDDEN}@"
    is_web = scheme.lower().rpartition("+")[2].startswith(WEB)  # also that of git+https
    return f"{scheme}{HIDDEN if is_web else user}@"


def refuse_password(what: str, address: str, remedy: str = "") -> None:
    """Raise `UserError` if `address` holds a password; `what` names where it stands (``--mlflow``).

    `remedy` says where it belongs; by default what the address's scheme reads.
    """
    if not holds_password(address):
        return
    scheme = address.partition(":")[0].partition("+")[0].lower()
    place = remedy or REMEDIES.get(scheme, "a file that its driver reads")
    without = re.sub(r"://[^/\s]*@", "://", PASSWORD_WITH_SLASH.sub(r"\g<1>", address))
    if ":" in (user_part := _user_part(address)):
        without = address.replace(f"{user_part}@", "")
        address = address.replace(user_part, f"{user_part.partition(':')[0]}:{HIDDEN}")
    raise UserError(
        f"{what} {redacted(address)} holds a password, which would end up in the sweep's files, in "
        f"MLflow and in logs: write {redacted(without)} and put the password into {place}"
    )


def _user_part(address: str) -> str:
    """What stands before the host of an address that is nothing else, also with spaces in it."""
    try:
        return urlsplit(address).netloc.rpartition("@")[0]
    except ValueError:
        return ""


def holds_password(address: str) -> bool:
    """Whether a password, or a name that may be a token, stands in `address`."""
    found = USER_PART.match(address)
    if (
        ":" in _user_part(address)
        or any(form.match(address) for form in (PASSWORD_WITH_SLASH, *DATABASE_PASSWORDS))
        or (found is not None and (":" in found[2] or found[1].lower().startswith(WEB)))
    ):
        return True
    try:
        names = [name.lower() for name, _ in parse_qsl(urlsplit(address).query)]
    except ValueError:
        return False
    return any(
        unquote(name) in SECRET_NAMES or any(word in unquote(name) for word in SECRET_WORDS)
        for name in names
    )
