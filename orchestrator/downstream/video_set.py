"""The videos that a command names: a manifest, or a folder or bucket that is indexed first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from orchestrator.config.cache_config import CacheConfig
from orchestrator.config.store_config import StoreConfig
from orchestrator.data.index import IndexJob, IndexProgress, index
from orchestrator.data.label_source import LabelSource
from orchestrator.data.manifest_check import check_unchanged
from orchestrator.storage.manifest_file import is_manifest_uri, read_manifest
from orchestrator.storage.open_store import open_store, split_object_uri
from orchestrator.storage.prepared_place import read_marker
from prp_core.data.cache.node_cache import NodeCache
from prp_core.data.indexing import inspect_object
from prp_core.data.loader_config import LoaderConfig
from prp_core.data.manifest import Manifest, VideoRecord
from prp_core.data.manifest_filter import filtered, parse_filter
from prp_core.data.object_store import ObjectStore
from prp_core.data.video_source import VideoSource
from prp_core.errors import BrokenVideo, UserError

INSPECT_SECONDS = 600.0


def find_videos(
    uri: str,
    *,
    labels: LabelSource,
    where: str,
    loader: LoaderConfig,
    store: StoreConfig,
    on_progress: Callable[[IndexProgress], None],
) -> Manifest:
    """The manifest at `uri`, whose videos are where it says and unchanged; else that of the videos
    under `uri`, indexed now (what is known is not read again); of either what `where` leaves.

    Raises `UserError` where there is none, or no video is left.
    """
    if where:  # before anything is indexed
        parse_filter(where)
    if is_manifest_uri(uri):
        manifest = read_manifest(uri, store)
        videos = open_store(manifest.uri, store)
        if read_marker(videos) is None:
            check_unchanged(manifest, uri, videos)
    else:
        job = IndexJob(uri=uri, labels=labels, loader=loader, store=store)
        manifest, _ = index(job, on_progress=on_progress)
    manifest = filtered(manifest, where)
    if not manifest.usable():
        raise UserError(f"{uri} has no usable video ({manifest.quarantined_in_words})")
    return manifest


def find_video(
    uri: str, loader: LoaderConfig, config: StoreConfig
) -> tuple[ObjectStore, VideoRecord]:
    """(the store, the record) of one video, every frame of it decoded to count them.

    Raises `UserError` where there is none, `BrokenVideo` where it cannot be used.
    """
    place, key = split_object_uri(uri if "://" in uri else str(Path(uri).expanduser().absolute()))
    store = open_store(place, config)
    info = next((one for one in store.list(key) if one.key == key), None)
    if info is None:
        raise UserError(f"There is no video {uri}; name a file or s3://bucket/prefix/video.mp4")
    cache = CacheConfig()
    node_cache = NodeCache(cache.folder, cache.capacity_bytes, store)
    with VideoSource(store, node_cache, loader) as source:
        record = inspect_object(source, info, INSPECT_SECONDS)
    if record.reason:
        raise BrokenVideo(uri, record.reason, record.detail)
    return store, record
