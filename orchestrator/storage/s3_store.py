"""S3 as an object store through boto3, with one attempt per call."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore import exceptions as boto_errors

from orchestrator.config.store_config import StoreConfig
from orchestrator.storage.remote_store import TransientStoreError
from orchestrator.storage.s3_clients import clients_of_process
from orchestrator.storage.s3_errors import translated_errors
from prp_core.data.object_store import ObjectInfo
from prp_core.errors import ObjectChanged, ObjectMissing, StoreError, UserError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CHUNK_BYTES = 1 << 18  # what a break in the middle of a body can cost


class S3Store:
    """The objects under ``s3://bucket/prefix``; implements `RemoteStore`.

    Instances are small and picklable; clients belong to the process. Empty objects whose keys end
    in ``/`` (folders made by consoles) are left out of listings.
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
        """See `RemoteStore.read`; one GET.

        It always asks for a range, because only then the answer contains the object's length.
        """
        if num_bytes == 0:
            return
        end = "" if num_bytes is None else start + num_bytes - 1
        condition: dict[str, Any] = {"IfMatch": f'"{etag}"'} if etag else {}
        timeout = clients_of_process().read_timeout(self._config)
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
        longest_pause = time.monotonic() - asked
        with self._translated(key, etag=served_etag), contextlib.closing(answer["Body"]) as body:
            asked = time.monotonic()
            for piece in body.iter_chunks(CHUNK_BYTES):
                longest_pause = max(longest_pause, time.monotonic() - asked)
                num_received += len(piece)
                yield piece
                asked = time.monotonic()  # the time that the caller takes is no pause of the store
        if num_received != num_promised:
            raise TransientStoreError(
                f"{self.uri}/{key}: {num_received} bytes received of {num_promised}",
                etag=served_etag,
            )
        timeout.record(longest_pause)

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
        """See `RemoteStore.write`; at most 5 GiB.

        The MD5 is sent along, so that the store refuses bytes that changed on the way. Some
        servers (Ceph 16) compare the etag of `If-Match` as it is sent, so without quotes; the
        standard has it quoted, and most servers take both. Where the first form is refused although
        the object still has that etag, the other one is tried and remembered.
        """
        if if_match is None:
            return self._put(key, data, {"IfNoneMatch": "*"} if if_absent else {})
        quotes = clients_of_process().quotes
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
        """The region of the bucket as the store reports it; None where it does not. One request."""
        with self._translated(""):
            try:
                answer: Any = self._client().head_bucket(Bucket=self._bucket)
            except boto_errors.ClientError as error:
                if error.response["ResponseMetadata"].get("HTTPStatusCode") in (429, 500, 503):
                    raise
                answer = error.response  # the region is reported even where access is denied
        headers = answer["ResponseMetadata"].get("HTTPHeaders", {})
        return headers.get("x-amz-bucket-region") or None

    def _client(self, read_timeout_seconds: float | None = None) -> S3Client:
        """The client with this read timeout; None: the longest one allowed."""
        return clients_of_process().get(
            self._config, read_timeout_seconds or self._config.read_timeout_seconds
        )

    @contextlib.contextmanager
    def _translated(
        self, key: str, *, etag: str | None = None, condition: Mapping[str, str] | None = None
    ) -> Iterator[None]:
        """As `translated_errors`; after expired credentials the next call reads them again."""
        try:
            with translated_errors(
                f"{self.uri}/{key}" if key else self.uri, etag=etag, condition=condition
            ):
                yield
        except TransientStoreError as error:
            if error.cause == "credentials":
                clients_of_process().forget(self._config)
            raise


def _md5() -> Any:
    return hashlib.md5(usedforsecurity=False)
