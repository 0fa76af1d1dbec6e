"""The notification hook of a sweep: a POST of JSON when it ends, fails or is out of budget.

The body has a field ``text``, which Slack, Mattermost and their like show, and the same as fields
for programs. A hook's URL is a secret (Slack's is all that its channel asks for), so it is kept
nowhere, and no message shows more of it than its host.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from orchestrator.config.redaction import redacted
from prp_core.errors import UserError

_LOGGER = logging.getLogger(__name__)

VARIABLE = "PRP_NOTIFY"
NUM_TRIES = 4
PAUSE_SECONDS = 2.0  # before the second try; twice as long before each further one
ANSWER_SECONDS = 10.0
LAST_SECONDS = 20.0  # the end of a sweep waits no longer for what is still being sent


class Event(StrEnum):
    """What a sweep notifies of."""

    ENDED = "ended"
    """It came to its end; the text holds its answer."""

    BUDGET = "budget"
    """Its budget lets no other trial start."""

    STOPPED = "stopped"
    """It was interrupted or stopped, and can be resumed."""

    FAILED = "failed"
    """It ended with an error, or trials are missing."""


Notify = Callable[..., None]


def hook_url(given: str | None) -> str:
    """The URL of ``--notify``, else of ``$PRP_NOTIFY``; empty: nobody is notified.

    Raises `UserError` for what is no web address.
    """
    url = given or os.environ.get(VARIABLE, "")
    if not url:
        return ""
    source = "--notify" if given else VARIABLE
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_address = False
    if not is_address:
        raise UserError(
            f"{source} is not a web address; write the whole URL of the hook, "
            "https://hooks.slack.com/services/..., for example"
        )
    return url


@contextmanager
def notifications(url: str, sweep_id: str) -> Iterator[Notify]:
    """A context with a function ``notify(event, text, **fields)`` that posts to `url` (empty: to
    nobody) from a thread and returns at once.

    At the end of the context what is still being sent has `LAST_SECONDS`. What cannot be sent is a
    warning in the log; no error leaves here.
    """
    threads: list[threading.Thread] = []

    def notify(event: Event, text: str, **fields: Any) -> None:
        if not url:
            return
        body = message(sweep_id, event, text, fields)
        thread = threading.Thread(target=send, args=(url, body), name="notify", daemon=True)
        threads.append(thread)
        thread.start()

    try:
        yield notify
    finally:
        deadline = time.monotonic() + LAST_SECONDS
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))


def message(sweep_id: str, event: Event, text: str, fields: dict[str, Any]) -> bytes:
    """The body of a POST: JSON, without the passwords of addresses."""
    line = f"PRP sweep {sweep_id} {event}: {' '.join(text.split())}"
    values = {"text": line, "sweep": sweep_id, "event": str(event), **fields}
    return json.dumps(
        {
            name: redacted(value) if isinstance(value, str) else value
            for name, value in values.items()
        }
    ).encode()


def send(
    url: str,
    body: bytes,
    *,
    pause_seconds: float = PAUSE_SECONDS,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """POST `body` to `url` in `NUM_TRIES` tries; whether it was taken.

    It is tried again where nobody answers, the server is at fault (5xx) or too busy (429).
    """
    reason = ""
    for attempt in range(NUM_TRIES):
        if attempt:
            sleep(pause_seconds * 2 ** (attempt - 1))
        try:
            request = urllib.request.Request(
                url, data=body, headers={"Content-Type": "application/json"}, method="POST"
            )
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS):
                return True
        except urllib.error.HTTPError as error:
            reason = f"it answers {error.code} {error.reason}"
            if error.code < 500 and error.code != 429:
                break
        # a name that is not known, a refusal, a timeout, an answer that is no HTTP
        except Exception as error:  # noqa: BLE001
            reason = f"{type(error).__name__}: {getattr(error, 'reason', error)}"
    _LOGGER.warning("%s did not accept a notification: %s", urlsplit(url).hostname, reason)
    return False
