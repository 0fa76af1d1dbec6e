"""The boto3 clients of a process, with the read timeouts and etag quoting of each store."""

from __future__ import annotations

import functools
import os
import threading
from typing import TYPE_CHECKING, Any

import boto3
import botocore.loaders
import botocore.session
from botocore import exceptions as boto_errors
from botocore.config import Config
from botocore.utils import InstanceMetadataRegionFetcher

from orchestrator.config.redaction import refuse_password
from orchestrator.config.store_config import StoreConfig
from orchestrator.storage.read_timeout import AdaptiveReadTimeout

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


class S3Clients:
    """The boto3 clients of one process, by config, read timeout and AWS environment.

    It also holds what was learnt of each config's store: its read timeout, and whether etags are
    quoted. boto3's clients, unlike its sessions, are safe with threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._clients: dict[tuple[object, ...], S3Client] = {}
        self._timeouts: dict[StoreConfig, AdaptiveReadTimeout] = {}
        self.quotes: dict[StoreConfig, str] = {}  # what an etag of `If-Match` stands between

    def get(self, config: StoreConfig, read_timeout_seconds: float) -> S3Client:
        """The client whose read timeout is `read_timeout_seconds`."""
        environment = (
            (name, value) for name, value in os.environ.items() if name.startswith("AWS_")
        )
        key = (config, read_timeout_seconds, *sorted(environment))
        with self._lock:
            if key not in self._clients:
                self._clients[key] = _make_client(config, read_timeout_seconds)
            return self._clients[key]

    def read_timeout(self, config: StoreConfig) -> AdaptiveReadTimeout:
        """The adaptive read timeout of this config's store."""
        with self._lock:
            return self._timeouts.setdefault(
                config,
                AdaptiveReadTimeout(config.first_read_timeout_seconds, config.read_timeout_seconds),
            )

    def forget(self, config: StoreConfig) -> None:
        """Drop this config's clients, whose credentials have expired."""
        with self._lock:
            self._clients = {
                key: client for key, client in self._clients.items() if key[0] != config
            }


_CLIENTS_OF_PROCESS: dict[int, S3Clients] = {}


def clients_of_process() -> S3Clients:
    """The clients of the calling process.

    A forked process must share neither sockets nor locks of its parent.
    """
    return _CLIENTS_OF_PROCESS.setdefault(os.getpid(), S3Clients())


def is_custom_endpoint(config: StoreConfig) -> bool:
    """Whether requests go to another server than Amazon's."""
    return bool(config.endpoint_url or any(os.environ.get(name) for name in ENDPOINT_VARIABLES))


def region_of_this_machine() -> str | None:
    """The AWS region of this machine; None where it is unknown.

    It comes from the instance's metadata where they answer within a second, else from
    ``AWS_REGION``.
    """
    fetcher = InstanceMetadataRegionFetcher(timeout=1, num_attempts=1)
    try:
        found = fetcher.retrieve_region()
    except boto_errors.BotoCoreError:
        found = None
    return found or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or None


def _make_client(config: StoreConfig, read_timeout_seconds: float) -> S3Client:
    for name in ENDPOINT_VARIABLES:
        refuse_password(name, os.environ.get(name, ""), "AWS_ACCESS_KEY_ID and its neighbours")
    base = botocore.session.Session(profile=config.profile)
    # To parse AWS's models is nine tenths of what a client costs.
    base.register_component("data_loader", _loader())
    session = boto3.session.Session(botocore_session=base, region_name=config.region)
    addressing: Any = (
        "path" if config.addressing == "auto" and is_custom_endpoint(config) else config.addressing
    )
    settings = Config(
        # One attempt: `RetryingStore` counts and spaces them all, and must know when a lost answer
        # left a write in doubt.
        retries={"mode": "standard", "total_max_attempts": 1},
        connect_timeout=min(10.0, read_timeout_seconds),
        read_timeout=read_timeout_seconds,
        max_pool_connections=64,
        tcp_keepalive=True,
        # Many S3 servers answer 411 to the chunked trailers that carry boto3's own checksums; the
        # MD5 header does the same everywhere.
        request_checksum_calculation="when_required",
        s3={"addressing_style": addressing},
    )
    return session.client("s3", endpoint_url=config.endpoint_url, config=settings)


@functools.cache
def _loader() -> Any:
    return botocore.loaders.create_loader()
