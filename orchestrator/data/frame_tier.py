"""The tier of decoded frames in a worker's data path: its size, its folder and its cache key."""

from __future__ import annotations

import logging
import shutil
from importlib.metadata import PackageNotFoundError, version

from orchestrator.config.cache_config import AUTOMATIC
from orchestrator.config.run_config import RunConfig
from prp_core.data.cache.cached_frames import CachedFrames
from prp_core.data.cache.frame_cache import FrameCache
from prp_core.data.cache.space import used_bytes
from prp_core.data.frame_source import FrameSource

log = logging.getLogger(__name__)

AUTOMATIC_SHARE = 0.25


def frames_capacity(configured_bytes: int, free_bytes: int, used: int) -> int:
    """The tier's bytes: as configured, or automatically a quarter of the free disk.

    Counted as if the tier were empty; on a full disk 1.
    """
    return (
        configured_bytes
        if configured_bytes != AUTOMATIC
        else max(1, int((free_bytes + used) * AUTOMATIC_SHARE))
    )


def through_frame_cache(source: FrameSource, config: RunConfig, *, made_from: str) -> FrameSource:
    """`source` read through the node's cache of decoded frames, or itself where that is off.

    It is off where ``cache.frames_capacity_bytes`` is 0, and with ``loader.colour = "device"``,
    where frames leave the decoder as planes that only a device converts to RGB. `made_from` names
    the videos' store, or the shards. Closing the result closes `source`.
    """
    if config.cache.frames_capacity_bytes == 0:
        return source
    if config.loader.colour == "device":
        log.info("loader.colour is 'device': decoded frames are not kept on the node")
        return source
    folder = config.cache.folder / "frames"
    folder.mkdir(parents=True, exist_ok=True)
    capacity = frames_capacity(
        config.cache.frames_capacity_bytes, shutil.disk_usage(folder).free, used_bytes(folder)
    )
    log.info("decoded frames are kept in %s, %.1f GB at most", folder, capacity / 1e9)
    made_by = f"{made_from} {config.loader.reader} {_decoder_versions()}"
    return CachedFrames(source, FrameCache(folder, capacity), config.clip, made_by=made_by)


def _decoder_versions() -> str:
    """The decoders' versions: another one may decode the same bytes to other pixels."""
    return " ".join(f"{name}-{_version_of(name)}" for name in ("decord", "av"))


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
