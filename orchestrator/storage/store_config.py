"""What a user may say about how a store is reached."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from prp_core.checks import check


@dataclass(frozen=True, kw_only=True)
class StoreConfig:
    """None means what the standard AWS environment, config files or instance role say; secrets come from there and from nowhere else.

    `silence_seconds` is how long the store may say nothing before a request counts as lost; `deadline_seconds` how long failures may
    follow each other before we give up (bytes that arrive buy more time).
    """

    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None
    requester_pays: bool = False
    silence_seconds: float = 20.0
    deadline_seconds: float = 120.0

    def __post_init__(self) -> None:
        if self.endpoint_url is not None:
            parts = urlsplit(self.endpoint_url)
            # Neither text shows the value whole where it may hold a password.
            check(parts.username is None, "store.endpoint_url", "...@" + (parts.hostname or ""), "must not hold credentials")
            is_url = parts.scheme in ("http", "https") and bool(parts.hostname)
            check(is_url, "store.endpoint_url", self.endpoint_url, "must be a URL such as https://s3.example.org:9000")
        check(self.silence_seconds > 0, "store.silence_seconds", self.silence_seconds, "must be positive")
        check(self.deadline_seconds >= 0, "store.deadline_seconds", self.deadline_seconds, "must not be negative")
