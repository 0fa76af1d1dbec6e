"""Region check of a bucket: reading from another region is slow and costs money per byte."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from orchestrator.config.store_config import StoreConfig
from orchestrator.storage.s3_clients import is_custom_endpoint, region_of_this_machine
from orchestrator.storage.s3_store import S3Store
from prp_core.errors import StoreUnavailable, UserError

PRICE = "about $20 per TB between regions, up to $90 out to the internet"


@dataclass(frozen=True)
class RegionCheck:
    """The result of a region check: `ok` is False where the bucket must not be read.

    `text` is the reason, or what is not known; empty where nothing is to be said.
    """

    ok: bool
    text: str = ""


def compare_regions(
    uri: str, bucket_region: str | None, our_region: str | None, *, allow_other_region: bool
) -> RegionCheck:
    """Whether `uri`, a bucket in `bucket_region`, may be read from `our_region`.

    None is an unknown region, which refuses nothing.
    """
    if bucket_region is None:
        return RegionCheck(
            True,
            f"{uri}: the store does not say in which region the bucket lies, so it was "
            "not compared with ours",
        )
    if our_region is None:
        unknown = "where this machine runs is unknown (no instance metadata, no AWS_REGION)"
        return RegionCheck(
            True, f"{uri} lies in {bucket_region}; {unknown}. Downloads to elsewhere cost {PRICE}"
        )
    if bucket_region == our_region:
        return RegionCheck(True)
    where = f"{uri} lies in {bucket_region}, and this machine runs in {our_region}"
    if allow_other_region:
        return RegionCheck(True, f"{where}; allowed by store.allow_other_region, at {PRICE}")
    remedy = f"run in {bucket_region}, copy the bucket, or set store.allow_other_region = true"
    return RegionCheck(False, f"{where}: downloads would cost {PRICE}; {remedy}")


def check_region(uri: str | Path, config: StoreConfig | None = None) -> str:
    """Compare the region of the bucket at `uri` with this machine's; a warning or an empty text.

    It makes one request. Folders pass, and so does a custom endpoint unless ``store.region`` says
    that it has regions. Raises `UserError` when the bucket lies in another region and that is not
    allowed.
    """
    config = config or StoreConfig()
    if not str(uri).startswith("s3://") or (is_custom_endpoint(config) and config.region is None):
        return ""
    try:
        bucket_region = S3Store(str(uri), config).bucket_region()
    except StoreUnavailable:
        bucket_region = None  # the next read reports what is wrong, after its retries
    found = compare_regions(
        str(uri),
        bucket_region,
        region_of_this_machine(),
        allow_other_region=config.allow_other_region,
    )
    if not found.ok:
        raise UserError(found.text)
    return found.text
