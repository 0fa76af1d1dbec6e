"""How S3 is reached: endpoint, region, addressing, timeouts."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from prp_core.checks import check, check_choice

ADDRESSINGS = ("auto", "path", "virtual")


@dataclass(frozen=True, kw_only=True)
class StoreConfig:
    """A connection to S3.

    Secrets come from the AWS environment, its files or the machine's role, and from nowhere else.
    """

    endpoint_url: str | None = None
    """The URL of another server than Amazon's; none: what the AWS environment says."""
    region: str | None = None
    """The region of the bucket; none: what the AWS environment says."""
    profile: str | None = None
    """A profile of ~/.aws; none: the default one."""
    addressing: str = "auto"
    """Where the bucket's name goes: ``path`` (host/bucket/key), ``virtual`` (bucket.host/key), or
    ``auto``: path for a server of one's own, virtual for Amazon's."""
    requester_pays: bool = False
    """Whether we pay for reading a bucket whose owner does not."""
    allow_other_region: bool = False
    """Whether a bucket of another region than ours may be read, which costs money."""
    first_read_timeout_seconds: float = 2.0
    """The read timeout of a first attempt, in seconds; less where the store has been quicker lately
    (`storage.read_timeout`). It doubles with each failure, up to `read_timeout_seconds`."""
    read_timeout_seconds: float = 20.0
    """The longest read timeout: seconds without a byte after which any request counts as lost."""
    deadline_seconds: float = 120.0
    """Seconds for which failures may follow each other before we give up; bytes that arrive extend
    it."""

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
            self.first_read_timeout_seconds > 0,
            "store.first_read_timeout_seconds",
            self.first_read_timeout_seconds,
            "must be positive",
        )
        check(
            self.read_timeout_seconds > 0,
            "store.read_timeout_seconds",
            self.read_timeout_seconds,
            "must be positive",
        )
        check(
            self.deadline_seconds >= 0,
            "store.deadline_seconds",
            self.deadline_seconds,
            "must not be negative",
        )
