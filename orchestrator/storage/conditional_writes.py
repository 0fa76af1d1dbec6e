"""Whether a store can do conditional writes: asked once, before a sweep keeps anything in it."""

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
    """Write and remove one small object; raises `UserError` when `store` does not keep to the
    conditions of a write (`if_absent`, `if_match`), on which rests that a sweep has one writer.

    Raises `StoreUnavailable` when the store cannot be reached, and what else `ObjectStore.write`
    raises for every write, such as `UserError` for one that is not allowed.
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
    """What `store` does wrong, in words; empty when it does what it should."""
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
