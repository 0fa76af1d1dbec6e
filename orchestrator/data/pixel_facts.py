"""What decides the pixels that an evaluation sees: a part of the protocol hash."""

from __future__ import annotations

from orchestrator.config.run_config import RunConfig
from orchestrator.storage.open_store import open_store
from orchestrator.storage.prepared_place import read_marker


def pixel_facts(data_uri: str, config: RunConfig, *, uses_gpu: bool) -> dict[str, object]:
    """How frames of the videos under `data_uri` become pixels of the training size.

    Of originals the decoder decides, whose results differ by a grey level; of a prepared place the
    kind of its shards (their settings are in the bytes, and so in the sha256 of each video). JPEGs
    of an evaluation are decoded on the CPU, wherever training decodes them. Frames are resized by
    the 8-bit kernel of the CPU where the node caches them or no GPU is used, else by the GPU's:
    there larger ones than ``loader.max_carried_pixels`` are resized by the CPU all the same.
    """
    marker = read_marker(open_store(data_uri, config.store, check=False))
    made: dict[str, object] = (
        {"decoder": config.loader.reader}
        if marker is None
        else {"shards": marker.settings.kind, "decoder": "cpu"}
    )
    is_cached = config.cache.frames_capacity_bytes != 0 and config.loader.colour != "device"
    if is_cached or not uses_gpu:
        return {**made, "resized_by": "cpu"}
    return {**made, "resized_by": "gpu", "by_cpu_above": config.loader.max_carried_pixels}
