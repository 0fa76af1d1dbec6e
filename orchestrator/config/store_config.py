"""What a user may say about how a store is reached."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from prp_core.checks import check, check_choice

ADDRESSINGS = ("auto", "path", "virtual")


@dataclass(frozen=True, kw_only=True)
class StoreConfig:
    """None means what the standard AWS environment, config files or instance role say; secrets come
    from there and from nowhere else.

    `addressing` is where the bucket's name goes: ``path`` (host/bucket/key), ``virtual``
    (bucket.host/key), ``auto``: path for a server of one's own, virtual for Amazon's. A bucket of
    another region than ours is refused unless `allow_other_region`. `silence_seconds` is how long
    the store may say nothing before a request counts as lost; a read is asked for again after
    `first_silence_seconds` already, or sooner where the store has been quicker (see
    `read_timeout.read_timeout_seconds`), which doubles with each failure up to `silence_seconds`.
    `deadline_seconds` is how long failures may follow each other before we give up (bytes that
    arrive buy more time).
    """

    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None
    addressing: str = "auto"
    requester_pays: bool = False
    allow_other_region: bool = False
    first_silence_seconds: float = 2.0
    silence_seconds: float = 20.0
    deadline_seconds: float = 120.0

    def __post_init__(self) -> None:
        if self.endpoint_url is not None:
            parts = urlsplit(self.endpoint_url)
            # Neither text shows the value whole where it may hold a password.
            check(
                parts.username is None,
                "store.endpoint_url",
                "...@" + (parts.hostname or ""),
                "must not hold credentials",
            )
            is_url = parts.scheme in ("http", "https") and bool(parts.hostname)
            check(
                is_url,
                "store.endpoint_url",
                self.endpoint_url,
                "must be a URL such as https://s3.example.org:9000",
            )
        check_choice("store.addressing", self.addressing, ADDRESSINGS)
        check(
            self.first_silence_seconds > 0,
            "store.first_silence_seconds",
            self.first_silence_seconds,
            "must be positive",
        )
        check(
            self.silence_seconds > 0,
            "store.silence_seconds",
            self.silence_seconds,
            "must be positive",
        )
        check(
            self.deadline_seconds >= 0,
            "store.deadline_seconds",
            self.deadline_seconds,
            "must not be negative",
        )
