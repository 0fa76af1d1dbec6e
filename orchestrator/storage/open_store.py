"""Opening the object store of a URI; `STORES` lists the kinds by URI scheme."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from orchestrator.config.store_config import StoreConfig
from orchestrator.storage.retrying_store import RetryingStore
from prp_core.catalogue import look_up
from prp_core.data.object_store import LocalStore, ObjectStore
from prp_core.errors import StoreUnavailable, UserError

CHECK_SECONDS = 10.0


def open_store(
    uri: str | Path, config: StoreConfig | None = None, *, check: bool = True
) -> ObjectStore:
    """The store at `uri`: ``s3://bucket/prefix``, ``file:///folder`` or a folder's path.

    With `check`, a remote store gets one request, so that a wrong name, endpoint or credential
    raises `UserError` here. Stores are picklable.
    """
    scheme = _scheme(str(uri))
    text = str(uri)
    return look_up("kind of store", scheme, STORES)(text, config or StoreConfig(), check)


def split_object_uri(uri: str | Path) -> tuple[str, str]:
    """(URI of the store, key) of an object's URI.

    ``s3://bucket/a/b.parquet`` is ``("s3://bucket/a", "b.parquet")``.
    """
    text = str(uri)
    place, slash, key = text.rpartition("/")
    if not key or re.fullmatch(r"[A-Za-z0-9+.-]+:/?/?", place):
        raise UserError(f"{text!r} names no object; write the place and the name of one file")
    if not slash:
        return ".", key
    return place or "/", unquote(key) if text.startswith("file:") else key


def _scheme(uri: str) -> str:
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):/", uri)
    return match[1].lower() if match else "file"


def _open_folder(uri: str, config: StoreConfig, check: bool) -> ObjectStore:
    if not uri.strip():
        raise UserError(f"{uri!r} names no folder; an empty variable? The working directory is '.'")
    if not uri.startswith("file:"):
        return LocalStore(Path(uri).expanduser())
    parts = urlsplit(uri)
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise UserError(
            f"{uri!r} names no folder of this machine; write file:///folder or its path"
        )
    return LocalStore(Path(unquote(parts.path)))


def _open_s3(uri: str, config: StoreConfig, check: bool) -> ObjectStore:
    from orchestrator.storage.s3_store import S3Store  # boto3, which a local folder does not need

    if check:
        timeout_seconds = min(config.read_timeout_seconds, CHECK_SECONDS)
        short = replace(config, read_timeout_seconds=timeout_seconds)
        deadline_seconds = min(config.deadline_seconds, CHECK_SECONDS)
        try:
            next(RetryingStore(S3Store(uri, short), deadline_seconds).list(), None)
        except StoreUnavailable as error:
            raise UserError(
                f"The store cannot be used: {error}. Check store.endpoint_url or "
                "AWS_ENDPOINT_URL, and the network"
            ) from error
    return RetryingStore(S3Store(uri, config), config.deadline_seconds)


STORES: dict[str, Callable[[str, StoreConfig, bool], ObjectStore]] = {
    "file": _open_folder,
    "s3": _open_s3,
}
