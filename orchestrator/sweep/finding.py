"""A finding of `prp doctor`: what was looked at, how bad it is, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from orchestrator.config.redaction import redacted


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    """As it should be."""

    WARNING = "warning"
    """The sweep runs, but something is missing or slow."""

    FAILURE = "failure"
    """A trial would fail here."""


@dataclass(frozen=True)
class Finding:
    """What a probe found: `what` was looked at on the machine `where`; `advice` says what to do."""

    what: str
    level: Level
    text: str
    advice: str = ""
    where: str = "driver"


def reason_of(error: BaseException) -> str:
    """What was raised, in one line of at most 300 characters and without passwords."""
    text = " ".join(redacted(error).split())
    return f"{type(error).__name__}: {text}"[:300]


def access_advice(uri: str) -> str:
    """What to do where a machine does not reach `uri`."""
    if "://" not in uri:
        return f"mount {uri} on this machine, or use s3://bucket/prefix"
    return (
        "give this machine its own credentials and way there: its role, ~/.aws, or AWS_* in the "
        "environment of `ray start`; those of the driver are not sent to workers"
    )
