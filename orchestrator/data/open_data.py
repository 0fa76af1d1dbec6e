"""Opening of a sweep's videos on a node: originals through decoders, or prepared shards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from typing import Any

from orchestrator.config.run_config import RunConfig
from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.data.frame_tier import through_frame_cache
from orchestrator.data.sweep_videos import read_sweep_videos
from orchestrator.storage.open_store import open_store
from orchestrator.storage.prepared_place import read_index, read_marker
from orchestrator.tracking.encoder_file import unpack
from orchestrator.tracking.models import read_folder
from prp_core.data.cache.node_cache import NodeCache
from prp_core.data.frame_source import FrameSource
from prp_core.data.manifest import Manifest
from prp_core.data.object_store import ObjectStore
from prp_core.data.shards.index import check_size
from prp_core.data.shards.source import ShardSource
from prp_core.data.video_source import VideoSource
from prp_core.training.pretrain_data import PretrainData
from prp_core.world import World


@contextmanager
def open_data(
    spec: SweepSpec, config: RunConfig, world: World | None = None
) -> Iterator[PretrainData]:
    """The sweep's videos, split into parts (`read_sweep_videos`), read through this node's cache;
    those of another corpus, too, that encoders are judged on. What is judged is never decoded on a
    GPU, whose pixels are others.

    The JPEGs of a prepared place are decoded
    where `loader.decode_jpegs_on` says: on the CPU or on `world`'s device. Closed with its decoders
    at the end.
    """
    videos = read_sweep_videos(spec, config)
    world = world or World.alone()

    def opened(uri: str, manifest: Manifest, decoding: World | None) -> FrameSource:
        store = open_store(uri, config.store, check=False)
        return open_source(store, manifest, config, decoding or World.alone())

    with ExitStack() as stack:
        source = stack.enter_context(closing(opened(spec.data_uri, videos.manifest, world)))
        judged_source = None
        judged_uri = spec.eval_data_uri or spec.data_uri
        on_gpu = config.loader.decode_jpegs_on == "device" and world.device.type != "cpu"
        if spec.eval_data_uri or on_gpu:
            judged_source = stack.enter_context(closing(opened(judged_uri, videos.judged, None)))
        yield PretrainData(source, videos.parts, judged_source, initial_weights(config))


def initial_weights(config: RunConfig) -> Callable[[], Mapping[str, Any]] | None:
    """What reads the weights that training starts from; None where they are random.

    It raises `UserError` where there is no encoder, `DamagedEncoder` for one that was changed.
    """
    uri = config.encoder.init_from
    if not uri:
        return None
    return lambda: unpack(read_folder(uri, config.store))[1]


def open_source(
    store: ObjectStore, manifest: Manifest, config: RunConfig, world: World
) -> FrameSource:
    """The frame source of `manifest`'s videos, which lie in `store`.

    Decoded frames are kept on the node, except where a GPU decodes them: there they never leave the
    device. Raises `UserError` when manifest and store do not match.
    """
    cache = NodeCache(config.cache.folder, config.cache.capacity_bytes, store)
    marker = read_marker(store)
    if marker is None:
        return through_frame_cache(
            VideoSource(store, cache, config.loader), config, made_from=store.uri
        )
    check_size(marker.settings, config.clip.resize_height, config.clip.resize_width, store.uri)
    index = read_index(store, marker)
    index.expect_all(manifest)
    device = world.device if config.loader.decode_jpegs_on == "device" else None
    shards = ShardSource(
        index,
        store,
        cache,
        config.loader,
        capacity_bytes=config.cache.capacity_bytes,
        device=device,
    )
    if device is not None:
        return shards
    return through_frame_cache(shards, config, made_from=f"{store.uri} {marker.plan_hash}")
