"""S3 through boto3: each call is made once, and every answer is translated into our errors."""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import io
import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
import botocore.loaders
import botocore.session
from botocore import exceptions as boto_errors
from botocore.config import Config
from botocore.utils import InstanceMetadataRegionFetcher

from orchestrator.config.store_config import StoreConfig
from orchestrator.storage.read_timeout import AdaptiveReadTimeout
from orchestrator.storage.remote_store import TransientStoreError
from prp_core.data.object_store import ObjectInfo
from prp_core.errors import (
    CorruptObject,
    ObjectChanged,
    ObjectExists,
    ObjectMissing,
    StoreError,
    UserError,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CHUNK_BYTES = 1 << 18  # what a break in the middle of a body can cost

EXPIRED = {"ExpiredToken", "InvalidToken", "TokenRefreshRequired", "RequestExpired"}
THROTTLED = {
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "TooManyRequests",
    "ServiceUnavailable",
}
PASSING = {
    "RequestTimeout",
    "InternalError",
    "OperationAborted",
    "ConditionalRequestConflict",
    "BadDigest",
    "IncompleteBody",
}
REMEDIES = {
    "NoSuchBucket": "there is no such bucket; check its name, the endpoint and the region",
    "InvalidBucketName": (
        "this is no name for a bucket (3 to 63 lower-case letters, digits, dots and hyphens)"
    ),
    "AccessDenied": (
        "access denied; check the credentials, which need s3:ListBucket, s3:GetObject and, "
        "to write, s3:PutObject"
    ),
    "InvalidAccessKeyId": (
        "the store does not know this access key; check AWS_ACCESS_KEY_ID or the profile, "
        "and the endpoint"
    ),
    "SignatureDoesNotMatch": (
        "the secret key does not belong to the access key; check AWS_SECRET_ACCESS_KEY or "
        "the profile"
    ),
    "RequestTimeTooSkewed": "the clock of this machine is wrong by minutes; set it",
    "PermanentRedirect": "the bucket lies in another region; set store.region or AWS_REGION",
    "AuthorizationHeaderMalformed": (
        "the request was signed for another region than the bucket's; set store.region or "
        "AWS_REGION"
    ),
    "InvalidObjectState": "the object is archived; restore it from Glacier first",
    "EntityTooLarge": "S3 takes at most 5 GiB in one piece",
}
LOST_CONNECTIONS = (
    boto_errors.ConnectionError,  # among them: timeouts, proxies
    boto_errors.HTTPClientError,  # among them: resets
    boto_errors.ResponseStreamingError,
    boto_errors.IncompleteReadError,
    boto_errors.CredentialRetrievalError,
    boto_errors.MetadataRetrievalError,
    OSError,  # what urllib3 lets through of a reset
)
NO_CREDENTIALS = (
    boto_errors.NoCredentialsError,
    boto_errors.PartialCredentialsError,
    boto_errors.ProfileNotFound,
    boto_errors.SSOError,
    boto_errors.TokenRetrievalError,
    boto_errors.NoAuthTokenError,
)


class S3Store:
    """The objects under ``s3://bucket/prefix``; implements `RemoteStore`.

    Instances are small and picklable: clients belong to the process. Empty objects whose keys end
    in ``/`` (folders as consoles make them) are no objects here.
    """

    def __init__(self, uri: str, config: StoreConfig | None = None) -> None:
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        if not uri.startswith("s3://") or not re.fullmatch(
            r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}", bucket
        ):
            raise UserError(f"{uri!r} names no bucket; write s3://bucket or s3://bucket/prefix")
        self._config = config or StoreConfig()
        self._bucket = bucket
        self._prefix = f"{prefix.rstrip('/')}/" if prefix.rstrip("/") else ""
        self._common: dict[str, Any] = {"Bucket": bucket} | (
            {"RequestPayer": "requester"} if self._config.requester_pays else {}
        )

    def __repr__(self) -> str:
        return f"S3Store({self.uri!r})"

    @property
    def uri(self) -> str:
        """``s3://bucket/prefix``, without a slash at its end."""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[ObjectInfo]:
        """See `RemoteStore.list`."""
        begin: dict[str, Any] = {"StartAfter": self._prefix + after} if after else {}
        with self._translated(prefix):
            pages = (
                self._client()
                .get_paginator("list_objects_v2")
                .paginate(Prefix=self._prefix + prefix, **self._common, **begin)
            )
            for page in pages:
                for item in page.get("Contents", []):
                    if item["Size"] or not item["Key"].endswith("/"):
                        yield ObjectInfo(
                            item["Key"][len(self._prefix) :], item["Size"], item["ETag"].strip('"')
                        )

    def read(
        self,
        key: str,
        *,
        start: int = 0,
        num_bytes: int | None = None,
        etag: str | None = None,
        num_failures: int = 0,
    ) -> Iterator[bytes]:
        """See `RemoteStore.read`: one GET. Always of a range, because only then the answer also
        says how long the object is.
        """
        if num_bytes == 0:
            return
        end = "" if num_bytes is None else start + num_bytes - 1
        condition: dict[str, Any] = {"IfMatch": f'"{etag}"'} if etag else {}
        timeout = _clients().read_timeout(self._config)
        asked = time.monotonic()
        client = self._client(timeout.seconds(num_failures))
        with self._translated(key):
            try:
                answer = client.get_object(
                    Key=self._prefix + key,
                    Range=f"bytes={start}-{end}",
                    **self._common,
                    **condition,
                )
            except boto_errors.ClientError as error:
                if error.response["Error"].get("Code") == "InvalidRange":
                    return  # nothing lies behind `start`; so answers an empty object too
                raise
        served_etag = answer["ETag"].strip('"')
        num_promised = self._num_promised(key, answer.get("ContentRange"), start, num_bytes)
        num_received = 0
        longest_silence = time.monotonic() - asked
        with self._translated(key, etag=served_etag), contextlib.closing(answer["Body"]) as body:
            asked = time.monotonic()
            for piece in body.iter_chunks(CHUNK_BYTES):
                longest_silence = max(longest_silence, time.monotonic() - asked)
                num_received += len(piece)
                yield piece
                asked = time.monotonic()  # while whoever reads is at work, the store is not silent
        if num_received != num_promised:
            raise TransientStoreError(
                f"{self.uri}/{key}: {num_received} bytes came where {num_promised} were due",
                etag=served_etag,
            )
        timeout.record(longest_silence)

    def _num_promised(
        self, key: str, content_range: str | None, start: int, num_bytes: int | None
    ) -> int:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", content_range or "")
        if match is None or int(match[1]) != start:
            raise StoreError(
                f"{self.uri}/{key}: asked for bytes from {start}, the store answered "
                f"{content_range!r}; it cannot serve ranges"
            )
        num_left = int(match[2]) - start
        return num_left if num_bytes is None else min(num_left, num_bytes)

    def write(
        self,
        key: str,
        data: bytes | Path,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> ObjectInfo:
        """See `RemoteStore.write`. The MD5 travels along, so that the store itself refuses bytes
        that changed on the way. At most 5 GiB.

        Some servers (Ceph 16) compare the etag of `If-Match` as it was sent, without quotes; the
        standard writes it with quotes, and most take both. Where the first form is refused although
        the etag is still the object's, the other is tried, and remembered.
        """
        if if_match is None:
            return self._put(key, data, {"IfNoneMatch": "*"} if if_absent else {})
        quotes = _clients().quotes
        first = quotes.get(self._config, "")
        try:
            return self._put(key, data, {"IfMatch": f"{first}{if_match}{first}"})
        except ObjectChanged:
            if self._config in quotes or self._etag_of(key) != if_match:
                raise
        other = "" if first else '"'
        info = self._put(key, data, {"IfMatch": f"{other}{if_match}{other}"})
        quotes[self._config] = other
        return info

    def _put(self, key: str, data: bytes | Path, condition: dict[str, str]) -> ObjectInfo:
        with contextlib.ExitStack() as stack:
            body: io.BufferedReader | io.BytesIO = (
                stack.enter_context(data.open("rb")) if isinstance(data, Path) else io.BytesIO(data)
            )
            digest = base64.b64encode(hashlib.file_digest(body, _md5).digest()).decode()
            num_bytes = body.seek(0, os.SEEK_END)
            body.seek(0)
            stack.enter_context(self._translated(key, condition=condition))
            answer: Any = self._client().put_object(
                Key=self._prefix + key,
                Body=body,
                ContentMD5=digest,
                **self._common,
                **condition,  # type: ignore[arg-type]
            )
        return ObjectInfo(key, num_bytes, answer["ETag"].strip('"'))

    def _etag_of(self, key: str) -> str | None:
        try:
            with self._translated(key):
                answer = self._client().head_object(Key=self._prefix + key, **self._common)
        except ObjectMissing:
            return None
        return answer["ETag"].strip('"')

    def delete(self, key: str) -> None:
        """See `RemoteStore.delete`."""
        with self._translated(key):
            self._client().delete_object(Key=self._prefix + key, **self._common)

    def bucket_region(self) -> str | None:
        """The region that the store says the bucket lies in; None where it does not say. One
        request.
        """
        with self._translated(""):
            try:
                answer: Any = self._client().head_bucket(Bucket=self._bucket)
            except boto_errors.ClientError as error:
                if error.response["ResponseMetadata"].get("HTTPStatusCode") in (429, 500, 503):
                    raise
                answer = error.response  # who may not look at a bucket is still told where it lies
        headers = answer["ResponseMetadata"].get("HTTPHeaders", {})
        return headers.get("x-amz-bucket-region") or None

    def _client(self, silence_seconds: float | None = None) -> S3Client:
        """The client that bears this much silence; None: all that is allowed."""
        return _clients().get(self._config, silence_seconds or self._config.silence_seconds)

    @contextlib.contextmanager
    def _translated(
        self, key: str, *, etag: str | None = None, condition: dict[str, str] | None = None
    ) -> Iterator[None]:
        """Turns what boto3 raises into our errors, which name the object; `condition` is that of a
        write.
        """
        what = f"{self.uri}/{key}" if key else self.uri
        try:
            yield
        except boto_errors.ClientError as error:
            raise self._explain(error, what, condition) from error
        except NO_CREDENTIALS as error:
            how = (
                "log in (aws configure, aws sso login), set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, or give the machine a role"
            )
            raise UserError(
                f"{what}: no usable credentials ({type(error).__name__}: {error}); {how}"
            ) from error
        except boto_errors.SSLError as error:
            if "CERTIFICATE_VERIFY_FAILED" not in str(error):
                raise TransientStoreError(f"{what}: {error}", etag=etag) from error
            raise UserError(
                f"{what}: no trusted connection ({error}); set AWS_CA_BUNDLE to the "
                "store's certificate authority"
            ) from error
        except (boto_errors.ChecksumError, boto_errors.FlexibleChecksumError) as error:
            raise CorruptObject(f"{what}: {error}") from error
        except boto_errors.EndpointConnectionError as error:
            server = urlsplit(error.kwargs.get("endpoint_url", ""))
            raise TransientStoreError(
                f"{what}: no connection to {server.scheme}://{server.netloc}"
            ) from error
        except boto_errors.ConnectionClosedError as error:
            raise TransientStoreError(
                f"{what}: the store closed the connection", etag=etag
            ) from error
        except LOST_CONNECTIONS as error:
            raise TransientStoreError(f"{what}: {error}", etag=etag) from error
        except (
            RuntimeError
        ) as error:  # what botocore raises when whoever renews credentials handed out old ones
            if "expired" not in str(error):
                raise
            raise TransientStoreError(
                f"{what}: the credentials have expired and were not renewed in time",
                cause="credentials",
                etag=etag,
            ) from error
        except boto_errors.BotoCoreError as error:
            raise UserError(
                f"{what}: {error}; check the store's settings and the AWS environment"
            ) from error

    def _explain(
        self, error: boto_errors.ClientError, what: str, condition: dict[str, str] | None
    ) -> Exception:
        code = error.response["Error"].get("Code", "")
        status = error.response["ResponseMetadata"].get("HTTPStatusCode", 0)
        if code in EXPIRED:
            _clients().forget(self._config)  # the next attempt reads the credentials anew
            return TransientStoreError(
                f"{what}: the credentials have expired ({code})", cause="credentials"
            )
        if code in THROTTLED or status in (429, 503):
            return TransientStoreError(
                f"{what}: the store throttles ({status} {code})", cause="throttled"
            )
        if status == 501:
            return StoreError(f"{what}: the store answered {status} {code}")
        if code in PASSING or status == 408 or status >= 500:
            return TransientStoreError(f"{what}: {status} {code}")
        if code in REMEDIES:
            return UserError(f"{what}: {REMEDIES[code]} ({code})")
        if status in (404, 412) and condition is not None and "IfMatch" in condition:
            return ObjectChanged(f"{what} is no longer {condition['IfMatch']}")
        if status == 404:
            return ObjectMissing(f"{what}: no such object")
        if status == 412:
            return (
                ObjectChanged(f"{what} has changed since it was listed; index it again")
                if condition is None
                else ObjectExists(f"{what} is there already")
            )
        if status == 403:
            return UserError(f"{what}: {REMEDIES['AccessDenied']} ({code})")
        return StoreError(f"{what}: the store answered {status} {code}")


class _Clients:
    """The boto3 clients of one process, one per config, silence and AWS environment, and what each
    config's store has taught about silence and about the quotes of an etag.

    boto3's clients, unlike its sessions, are safe with threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._clients: dict[tuple[object, ...], S3Client] = {}
        self._timeouts: dict[StoreConfig, AdaptiveReadTimeout] = {}
        self.quotes: dict[StoreConfig, str] = {}  # what an etag of `If-Match` stands between

    def get(self, config: StoreConfig, silence_seconds: float) -> S3Client:
        environment = (
            (name, value) for name, value in os.environ.items() if name.startswith("AWS_")
        )
        key = (config, silence_seconds, *sorted(environment))
        with self._lock:
            if key not in self._clients:
                self._clients[key] = _make_client(config, silence_seconds)
            return self._clients[key]

    def read_timeout(self, config: StoreConfig) -> AdaptiveReadTimeout:
        with self._lock:
            return self._timeouts.setdefault(
                config, AdaptiveReadTimeout(config.first_silence_seconds, config.silence_seconds)
            )

    def forget(self, config: StoreConfig) -> None:
        with self._lock:
            self._clients = {
                key: client for key, client in self._clients.items() if key[0] != config
            }


_CLIENTS_OF_PROCESS: dict[int, _Clients] = {}


def _clients() -> _Clients:
    # By process id: a fork must share neither sockets nor a lock that some other thread of its
    # parent held.
    return _CLIENTS_OF_PROCESS.setdefault(os.getpid(), _Clients())


def is_custom_endpoint(config: StoreConfig) -> bool:
    """Whether requests go to another server than the one that Amazon's own rules name."""
    return bool(
        config.endpoint_url
        or os.environ.get("AWS_ENDPOINT_URL_S3")
        or os.environ.get("AWS_ENDPOINT_URL")
    )


def region_of_this_machine() -> str | None:
    """Where this process runs: what the instance's metadata say where they answer within a second,
    else ``AWS_REGION``; None: unknown.
    """
    fetcher = InstanceMetadataRegionFetcher(timeout=1, num_attempts=1)
    try:
        found = fetcher.retrieve_region()
    except boto_errors.BotoCoreError:
        found = None
    return found or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or None


def _make_client(config: StoreConfig, silence_seconds: float) -> S3Client:
    base = botocore.session.Session(profile=config.profile)
    base.register_component(
        "data_loader", _loader()
    )  # to parse AWS's models is nine tenths of what a client costs
    session = boto3.session.Session(botocore_session=base, region_name=config.region)
    addressing: Any = (
        "path" if config.addressing == "auto" and is_custom_endpoint(config) else config.addressing
    )
    settings = Config(
        # One attempt: `RetryingStore` counts and spaces them all, and must know when a lost answer
        # left a write in doubt.
        retries={"mode": "standard", "total_max_attempts": 1},
        connect_timeout=min(10.0, silence_seconds),
        read_timeout=silence_seconds,
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


def _md5() -> Any:
    return hashlib.md5(usedforsecurity=False)
