"""The notification hook against a real HTTP server: what arrives, tries, and what is not shown."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from orchestrator.sweep.notification import (
    NUM_TRIES,
    Event,
    hook_url,
    message,
    notifications,
    send,
)
from prp_core.errors import UserError
from tests.tools.hook_server import Hook, hook_server


@pytest.fixture
def hook() -> Iterator[Hook]:
    with hook_server() as server:
        yield server


def test_an_event_arrives_as_json_that_slack_shows(hook: Hook) -> None:
    with notifications(hook.url, "rates-1") as notify:
        notify(Event.ENDED, "Rates 1-2-4\n win.", cost="$3")
    ((path, kind, body),) = hook.got
    assert path == "/services/T0/canary" and kind == "application/json"
    assert json.loads(body) == {
        "text": "PRP sweep rates-1 ended: Rates 1-2-4 win.",
        "sweep": "rates-1",
        "event": "ended",
        "cost": "$3",
    }


def test_a_hook_that_is_slow_keeps_nobody_waiting(hook: Hook) -> None:
    hook.waits.clear()
    with notifications(hook.url, "rates-1") as notify:
        notify(Event.BUDGET, "no more trials")
        assert hook.got == [], "the server still waits, and this line is reached"
        hook.waits.set()
    assert len(hook.got) == 1


@pytest.mark.parametrize(
    ("answers", "is_taken", "num_tries"),
    [
        ([200], True, 1),
        ([503, 429, 200], True, 3),
        ([500], False, NUM_TRIES),
        ([404], False, 1),
    ],
)
def test_what_may_pass_is_tried_again(
    answers: list[int],
    is_taken: bool,
    num_tries: int,
    hook: Hook,
    caplog: pytest.LogCaptureFixture,
) -> None:
    hook.answers = answers
    pauses: list[float] = []
    with caplog.at_level(logging.WARNING):
        assert send(hook.url, b"{}", sleep=pauses.append) is is_taken
    assert len(hook.got) == num_tries
    assert pauses == [2.0, 4.0, 8.0][: num_tries - 1]
    assert ("127.0.0.1 did not accept a notification" in caplog.text) is not is_taken
    assert "canary" not in caplog.text, "the URL is a secret"


def test_nobody_answers(caplog: pytest.LogCaptureFixture) -> None:
    assert not send("http://127.0.0.1:9/canary", b"{}", sleep=lambda _: None)
    assert "127.0.0.1" in caplog.text and "canary" not in caplog.text


def test_passwords_of_addresses_are_not_sent() -> None:
    body = message("s", Event.FAILED, "no answer of https://me:canary@host", {"cost": "$1"})
    assert b"canary" not in body and b"https://me:***@host" in body


def test_where_the_url_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PRP_NOTIFY", raising=False)
    assert hook_url(None) == ""
    with notifications("", "s") as notify:
        notify(Event.ENDED, "nobody is told")
    monkeypatch.setenv("PRP_NOTIFY", "https://hooks.example/x")
    assert hook_url(None) == "https://hooks.example/x"
    assert hook_url("http://other/") == "http://other/"
    for wrong in ("hooks.example/x", "ftp://x/", "https://", "http://[x"):
        with pytest.raises(UserError, match="--notify is not a web address; write the whole URL"):
            hook_url(wrong)
