"""``prp data prepare``: turn the videos of a folder or bucket into shards for training."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from orchestrator.commands.command import run_module
from orchestrator.commands.common_arguments import (
    add_address_argument,
    add_json_argument,
    add_label_arguments,
    add_store_arguments,
    print_json,
    store_config,
)
from orchestrator.commands.data.manifests import add_where_argument
from orchestrator.commands.data.progress import print_index_progress, print_prepare_progress
from orchestrator.config.cache_config import CACHE_DIR_RULE, DEFAULT_CAPACITY_BYTES, CacheConfig
from prp_core.data.loader_config import LoaderConfig
from prp_core.data.shards.index import SHARD_KINDS, ShardSettings
from prp_core.errors import UserError

if TYPE_CHECKING:
    from orchestrator.data.prepare_task import PrepareJob
    from prp_core.data.manifest import Manifest

DEFAULTS = ShardSettings()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The two places, how frames are kept, what the originals are read with, and the cluster."""
    parser.add_argument(
        "source",
        metavar="SRC",
        help="a folder of videos or s3://bucket/prefix; it is indexed first",
    )
    parser.add_argument(
        "destination",
        metavar="DST",
        help="an empty folder that every node sees, or s3://bucket/prefix; --data DST then "
        "trains from it",
    )
    _add_shard_arguments(parser)
    parser.add_argument(
        "--manifest",
        metavar="URI",
        help="a manifest of SRC made by 'prp data index', instead of indexing it now",
    )
    add_where_argument(parser)
    add_label_arguments(parser)
    _add_reading_arguments(parser)
    prices = parser.add_argument_group(
        "prices", "in dollars; with any of them the report says what the same run costs again"
    )
    prices.add_argument("--cpu-hour-price", type=float)
    prices.add_argument("--get-price", type=float, help="of 1000 GETs")
    prices.add_argument("--put-price", type=float, help="of 1000 PUTs")
    parser.add_argument("--verbose", action="store_true", help="Ray's own output as well")
    add_json_argument(parser)
    add_store_arguments(parser)


def _add_shard_arguments(parser: argparse.ArgumentParser) -> None:
    """How frames are kept in shards; `_settings` reads it."""
    kinds = "; ".join(f"{name}: {words}" for name, words in SHARD_KINDS.items())
    parser.add_argument("--kind", default=DEFAULTS.kind, help=f"{kinds} (default: %(default)s)")
    numbers = {
        "height": "of the frames that are kept, in pixels",
        "width": "of the frames that are kept, in pixels",
        "quality": "JPEG's, 1 to 100",
        "crf": "of --kind video, 0 to 51, lower is better",
        "shard_bytes": "about how large a shard becomes",
    }
    for name, words in numbers.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=int,
            default=getattr(DEFAULTS, name),
            help=f"{words} (default: %(default)s)",
        )


def _add_reading_arguments(parser: argparse.ArgumentParser) -> None:
    """How the originals are read: decoder, cluster, cache."""
    parser.add_argument(
        "--reader",
        default=LoaderConfig().reader,
        help="the decoder of the originals (default: %(default)s)",
    )
    add_address_argument(parser)
    parser.add_argument(
        "--workers",
        type=int,
        help="videos indexed, and shards made by a local cluster, at a time (default: one per CPU)",
    )
    parser.add_argument(
        "--cache-dir",
        default="",
        metavar="DIR",
        help=f"each node's cache of originals from a bucket ({CACHE_DIR_RULE})",
    )
    parser.add_argument(
        "--cache-bytes",
        type=int,
        default=DEFAULT_CAPACITY_BYTES,
        help="how large it may become (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Index, prepare, report; prints the URI of the prepared place."""
    from orchestrator.data.prepare import on_cluster, prepare
    from orchestrator.data.prepare_report import Prices, report_lines
    from prp_core.data.manifest_filter import filtered, parse_filter

    if arguments.where:  # before anything is indexed
        parse_filter(arguments.where)
    settings = _settings(arguments)
    prices = Prices(
        cpu_hour=arguments.cpu_hour_price,
        thousand_gets=arguments.get_price,
        thousand_puts=arguments.put_price,
    )
    job = make_job(arguments, settings)
    _, report = prepare(
        filtered(manifest_of(arguments, job), arguments.where, is_to_prepare=True),
        job,
        on_cluster(arguments.address, num_workers=arguments.workers, verbose=arguments.verbose),
        prices=prices,
        on_progress=print_prepare_progress,
    )
    for line in report_lines(report):
        print(line, file=sys.stderr)
    if arguments.json:
        print_json(report)
    else:
        print(job.uri)
    return 0


def _settings(arguments: argparse.Namespace) -> ShardSettings:
    return ShardSettings(
        kind=arguments.kind,
        height=arguments.height,
        width=arguments.width,
        quality=arguments.quality,
        crf=arguments.crf,
        shard_bytes=arguments.shard_bytes,
        reader=arguments.reader,
    )


def make_job(arguments: argparse.Namespace, settings: ShardSettings) -> PrepareJob:
    """The job from SRC to DST, both looked at. Raises `UserError` where either cannot be used."""
    from orchestrator.data.prepare_task import PrepareJob
    from orchestrator.storage.open_store import open_store
    from orchestrator.storage.prepared_place import check_places, read_marker

    config = store_config(arguments)
    source = open_store(arguments.source, config)
    place = open_store(arguments.destination, config)
    check_places(source.uri, place.uri)
    if read_marker(source) is not None:
        raise UserError(
            f"{source.uri} holds prepared shards, and encoding them again would lose more "
            "quality; prepare from the original videos"
        )
    return PrepareJob(
        source_uri=source.uri,
        uri=place.uri,
        settings=settings,
        loader=LoaderConfig(reader=arguments.reader, num_decoders=1),
        store=config,
        cache=CacheConfig(dir=arguments.cache_dir, capacity_bytes=arguments.cache_bytes),
    )


def manifest_of(arguments: argparse.Namespace, job: PrepareJob) -> Manifest:
    """The manifest of the originals: the given one, else made by indexing them now."""
    from orchestrator.data.index import IndexJob, index
    from orchestrator.data.label_source import LabelSource
    from orchestrator.storage.manifest_file import read_manifest
    from orchestrator.storage.store_region import check_region

    if not arguments.manifest:
        to_index = IndexJob(
            uri=arguments.source,
            labels=LabelSource(
                splits_dir=arguments.splits,
                split=arguments.split,
                labels_csv=arguments.labels,
            ),
            loader=job.loader,
            num_workers=arguments.workers,
            store=job.store,
            cache=job.cache,
        )
        return index(to_index, on_progress=print_index_progress)[0]
    if arguments.splits or arguments.labels:
        raise UserError(
            "--manifest already holds labels and splits; leave it out to give --splits or --labels"
        )
    if said := check_region(job.source_uri, job.store):  # without a manifest, `index` checks it
        print(said, file=sys.stderr)
    return read_manifest(arguments.manifest, job.store)


if __name__ == "__main__":
    raise SystemExit(run_module("data prepare"))
