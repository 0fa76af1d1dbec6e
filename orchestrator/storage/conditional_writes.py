"""Check of a store for conditional writes, made once before a sweep is stored in it."""

from __future__ import annotations

import contextlib
import secrets

from prp_core.data.object_store import ObjectStore, read_all
from prp_core.errors import (
    ObjectChanged,
    ObjectExists,
    StoreError,
    StoreUnavailable,
    UserError,
)

PROBE_PREFIX = ".conditional-write-"
STORES_THAT_CAN = "Amazon S3, Ceph, MinIO and a local folder can"


def check_conditional_writes(store: ObjectStore) -> None:
    """Raise `UserError` unless `store` honours the conditions of a write.

    Conditional writes (`if_absent`, `if_match`) ensure that a sweep has one writer. The check
    writes and removes one small object. Raises `StoreUnavailable` when the store cannot be reached,
    and what else `ObjectStore.write` raises, such as `UserError` for a write that is not allowed.
    """
    key = f"{PROBE_PREFIX}{secrets.token_hex(8)}"
    try:
        problem = _broken_promise(store, key)
    finally:
        with contextlib.suppress(StoreError):  # what is left behind harms nobody
            store.delete(key)
    if problem:
        raise UserError(
            f"{store.uri} cannot hold a sweep: it {problem}, and without conditional writes two "
            f"drivers of one sweep would overwrite each other; {STORES_THAT_CAN}: choose another "
            "--storage"
        )


def _broken_promise(store: ObjectStore, key: str) -> str:
    """What `store` does wrong; empty where nothing."""
    try:
        first = store.write(key, b"first", if_absent=True)
        with contextlib.suppress(ObjectExists):
            store.write(key, b"other", if_absent=True)
            return "overwrites an object in a write with If-None-Match: *"
        second = store.write(key, b"second", if_match=first.etag)
        with contextlib.suppress(ObjectChanged):
            store.write(key, b"third", if_match=first.etag)
            return "overwrites an object that has changed in a write with If-Match"
        if second.etag == first.etag or read_all(store, key, etag=second.etag) != b"second":
            return "does not keep what was written with If-Match"
    except (StoreUnavailable, UserError):
        raise
    except ObjectChanged:
        return "refuses a write with If-Match of the right etag"
    except ObjectExists:
        return "refuses a write with If-None-Match: * where there is no object"
    except StoreError as error:
        return f"refuses conditional writes ({error})"
    return ""
