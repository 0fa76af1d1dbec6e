"""Probes of a corpus: whether this machine reads and decodes a sample of its videos.

As every probe, they return a `Finding` for whatever goes wrong and raise nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from orchestrator.config.run_config import RunConfig
from orchestrator.config.source_config import SourceConfig
from orchestrator.config.typed_command import prp
from orchestrator.sweep.finding import Finding, Level, access_advice, reason_of
from prp_core.data.manifest_filter import filtered
from prp_core.data.object_store import ObjectInfo, ObjectStore
from prp_core.errors import NEEDS_PREPARE

VIDEOS, JUDGING_VIDEOS = "videos", "judging videos"
OPTIONS = {VIDEOS: "--data", JUDGING_VIDEOS: "--eval-data"}
NUM_SAMPLES = 3
MAX_LOOKED_AT = 2000  # keys of a listing among which sample videos are looked for
SECONDS_A_VIDEO = 15.0
RATES = range(1, 17)
ENDINGS = (".mp4", ".avi", ".mkv", ".webm", ".mov", ".m4v", ".mpg", ".mpeg")


def corpora_findings(config: RunConfig) -> list[Finding]:
    """A finding for the videos that trials learn from, and one for those of another corpus that
    encoders are judged on, where there is one.
    """
    findings = [videos_finding(config, config.source)]
    if config.eval_source.is_given:
        findings.append(videos_finding(config, config.eval_source, JUDGING_VIDEOS))
    return findings


def videos_finding(config: RunConfig, source: SourceConfig, what: str = VIDEOS) -> Finding:
    """Whether the first videos of `source` can be read and decoded, and which rates they allow."""
    place = source.uri or source.manifest
    if not place:
        return Finding(what, Level.OK, "none given")
    try:
        records = sample_records(config, source)
    # whatever a store or a decoder raises is what this machine finds
    except Exception as error:  # noqa: BLE001
        return Finding(what, Level.FAILURE, reason_of(error), access_advice(place))
    if not records:
        text = f"no video among the first objects of {place}"
        advice = f"check {OPTIONS[what]}: a folder of videos or s3://bucket/prefix"
        if source.manifest:
            text = f"none of the first videos that {source.manifest} names is there"
            advice = f"index them again with `{prp('data index')}`, or put the videos back"
        return Finding(what, Level.FAILURE, text, advice)
    broken = [record for record in records if record.reason]
    usable = [record for record in records if not record.reason]
    if not usable:
        first = broken[0]
        text = f"none of {len(records)} sample videos is usable: {first.key}: {first.reason}"
        advice = f"try it in another player; {_index_says(place)}"
        if first.reason == NEEDS_PREPARE:
            advice = f"prepare the videos: `{prp(f'data prepare {place} DST')}`"
        return Finding(what, Level.FAILURE, text, advice)
    from prp_core.data.feasibility import eligible_counts

    counts = eligible_counts(usable, list(RATES), config.clip)
    rates = [rate for rate, count in counts.items() if count]
    if not rates:
        text = (
            f"{len(usable)} sample videos decode, and none is long enough for a clip of "
            f"{config.clip.length} frames"
        )
        advice = "lower clip.length, or set clip.short_videos = 'loop'"
        return Finding(what, Level.FAILURE, text, advice)
    text = (
        f"{len(usable)} of {len(records)} sample videos decode; a clip of {config.clip.length} "
        f"frames can be drawn at rates {rates[0]} to {rates[-1]}"
    )
    if not broken:
        return Finding(what, Level.OK, text)
    text += f"; {broken[0].key}: {broken[0].reason}"
    return Finding(what, Level.WARNING, text, _index_says(place))


def sample_records(config: RunConfig, source: SourceConfig) -> list[Any]:
    """Records, made now, of the first `NUM_SAMPLES` videos that the manifest of `source` says are
    usable; without a manifest of the first objects that are named like videos.

    Those of a prepared place are its manifest's: their frames were decoded when it was prepared.
    """
    from orchestrator.storage.manifest_file import read_manifest
    from orchestrator.storage.open_store import open_store
    from orchestrator.storage.prepared_place import read_marker, read_prepared_manifest
    from prp_core.data.cache.node_cache import NodeCache
    from prp_core.data.indexing import inspect_object
    from prp_core.data.video_source import VideoSource

    manifest = read_manifest(source.manifest, config.store) if source.manifest else None
    store = open_store(source.uri or (manifest.uri if manifest else ""), config.store)
    marker = read_marker(store)
    if marker is not None:
        return list(read_prepared_manifest(store, marker, config.store).records[:NUM_SAMPLES])
    if manifest is None:
        found = _named_like_videos(store)
    else:
        wanted = filtered(manifest, source.where, source.WHERE).usable()
        keys = [record.key for record in wanted[:NUM_SAMPLES]]
        found = itertools.chain.from_iterable(_listed(store, key) for key in keys)
    samples = list(itertools.islice(found, NUM_SAMPLES))
    if not samples:
        return []
    cache = NodeCache(config.cache.folder, config.cache.capacity_bytes, store)
    with VideoSource(store, cache, config.loader) as videos:
        return [inspect_object(videos, sample, SECONDS_A_VIDEO) for sample in samples]


def _named_like_videos(store: ObjectStore) -> Iterator[ObjectInfo]:
    listed = itertools.islice(store.list(), MAX_LOOKED_AT)
    return (info for info in listed if info.key.lower().endswith(ENDINGS))


def _listed(store: ObjectStore, key: str) -> Iterator[ObjectInfo]:
    return (info for info in store.list(key) if info.key == key)


def _index_says(place: str) -> str:
    return f"`{prp(f'data index {place}')}` says what is wrong with each"
