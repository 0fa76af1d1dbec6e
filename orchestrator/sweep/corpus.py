"""The corpora of a sweep: found by their manifests, indexed, or made for the demo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.config.run_config import RunConfig
from orchestrator.config.source_config import SourceConfig
from orchestrator.data import demo_videos
from orchestrator.data.index import IndexJob, advice_to_prepare, index, open_videos
from orchestrator.data.label_source import LabelSource
from orchestrator.data.manifest_check import check_unchanged
from orchestrator.storage.manifest_file import read_manifest
from orchestrator.storage.open_store import open_store
from orchestrator.storage.prepared_place import read_index, read_marker
from orchestrator.storage.store_region import check_region
from orchestrator.sweep.indexing_line import IndexingLine
from orchestrator.sweep.settings import absolute
from prp_core.data.manifest import Manifest
from prp_core.data.manifest_filter import filtered
from prp_core.data.shards.index import check_size

Say = Callable[[str], None]


@dataclass(frozen=True)
class Corpus:
    """Where the videos are, where their manifest is, and the whole manifest."""

    data_uri: str
    manifest_uri: str
    manifest: Manifest


def find_corpus(
    source: SourceConfig, config: RunConfig, home: Path, out_uri: str, say: Say
) -> Corpus:
    """The videos of `source` (one of `config`'s), with their manifest.

    They are those of its ``manifest`` if unchanged, else those of its ``uri``, indexed now
    into the folder `out_uri`, else the demo's, made under `home`. Raises
    `UserError` where they cannot be read, have changed, or are prepared ones that do not suit.
    """
    uri = source.uri
    manifest_uri = source.manifest
    if manifest_uri:
        manifest = read_manifest(manifest_uri, config.store)
        data_uri = absolute(uri or manifest.uri)
        check_region_of(data_uri, config, say)
        store = open_store(data_uri, config.store)
        if read_marker(store) is None:
            kept = filtered(manifest, source.where, source.WHERE)
            check_unchanged(kept, manifest_uri, store)
    else:
        data_uri = absolute(uri or _demo_videos(home, say))
        manifest_uri = _indexed(data_uri, source, config, out_uri, say)
        manifest = read_manifest(manifest_uri, config.store)
    check_prepared(data_uri, filtered(manifest, source.where, source.WHERE), config)
    return Corpus(data_uri, absolute(manifest_uri), manifest)


def check_sources(config: RunConfig) -> None:
    """Raise `UserError` for a corpus of `config` whose folder, manifest, table of labels or split
    files are not there or cannot be read: before hours go into indexing another one.
    """
    for source in (config.source, config.eval_source):
        if source.manifest:
            read_manifest(source.manifest, config.store)
        else:
            _labels_of(source).table()
        if source.uri:
            open_videos(source.uri, config.store)


def check_prepared(data_uri: str, manifest: Manifest, config: RunConfig) -> None:
    """Raise `UserError` for prepared videos that are not the manifest's, or smaller than needed."""
    store = open_store(data_uri, config.store, check=False)
    marker = read_marker(store)
    if marker is not None:
        check_size(marker.settings, config.clip.resize_height, config.clip.resize_width, data_uri)
        read_index(store, marker).expect_all(manifest)


def check_region_of(data_uri: str, config: RunConfig, say: Say) -> None:
    """Raise `UserError` for a bucket of another region (see `check_region`), once for a sweep."""
    if said := check_region(data_uri, config.store):
        say(said)


def _demo_videos(home: Path, say: Say) -> str:
    """The folder of the demo's videos, made unless it is there."""
    say(f"no --data given: the demo's own videos, in {home / 'demo-videos'}")
    return str(demo_videos.make(home / "demo-videos"))


def _labels_of(source: SourceConfig) -> LabelSource:
    return LabelSource(
        splits_dir=source.splits_dir, split=source.split, labels_csv=source.labels_csv
    )


def _indexed(data_uri: str, source: SourceConfig, config: RunConfig, out_uri: str, say: Say) -> str:
    """The URI of the manifest of the videos under `data_uri`; known videos are not read again."""
    say(f"indexing {data_uri}")
    job = IndexJob(
        uri=data_uri,
        out_uri=out_uri,
        labels=_labels_of(source),
        loader=config.loader,
        store=config.store,
        cache=config.cache,
    )
    manifest, manifest_uri = index(job, on_progress=IndexingLine())
    say(f"{len(manifest.usable())} videos, {manifest.quarantined_in_words}, in {manifest_uri}")
    if advice := advice_to_prepare(manifest):
        say(advice)
    return manifest_uri
