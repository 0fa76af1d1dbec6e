"""The command ``prp data prepare``: its arguments, what it says on the way, and the place that it
prints at the end.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.commands.common_arguments import (
    add_label_arguments,
    add_store_arguments,
    store_config,
)
from orchestrator.data.index import CACHE_BYTES, IndexProgress, index
from orchestrator.data.prepare_report import Prices, report_lines
from orchestrator.data.prepare_task import PrepareJob
from orchestrator.storage.manifest_file import read_manifest
from orchestrator.storage.open_store import open_store
from orchestrator.storage.prepared_place import check_places, read_marker
from orchestrator.storage.store_region import check_region
from prp_core.data.loader_config import LoaderConfig
from prp_core.data.manifest import Manifest
from prp_core.data.shards.index import SHARD_KINDS, ShardSettings
from prp_core.errors import UserError

if TYPE_CHECKING:
    from orchestrator.data.prepare import PrepareProgress

DEFAULTS = ShardSettings()


def add_prepare_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``prp data prepare`` takes."""
    add = parser.add_argument
    add(
        "source",
        metavar="SRC",
        help="a folder of videos or s3://bucket/prefix; it is indexed first",
    )
    add(
        "destination",
        metavar="DST",
        help="an empty folder that every node sees, or s3://bucket/prefix; --data DST then "
        "trains from it",
    )
    kinds = "; ".join(f"{name}: {words}" for name, words in SHARD_KINDS.items())
    add("--kind", default=DEFAULTS.kind, help=f"{kinds} (default: %(default)s)")
    add(
        "--height",
        type=int,
        default=DEFAULTS.height,
        help="of the frames that are kept (default: %(default)s)",
    )
    add("--width", type=int, default=DEFAULTS.width, help="(default: %(default)s)")
    add(
        "--quality",
        type=int,
        default=DEFAULTS.quality,
        help="JPEG's, 1 to 100 (default: %(default)s)",
    )
    add(
        "--crf",
        type=int,
        default=DEFAULTS.crf,
        help="of --kind video, 0 to 51, lower is better (default: %(default)s)",
    )
    add(
        "--shard-bytes",
        type=int,
        default=DEFAULTS.shard_bytes,
        help="about how large a shard becomes (default: %(default)s)",
    )
    add(
        "--manifest",
        metavar="URI",
        help="a manifest of SRC made by 'prp data index', instead of indexing it now",
    )
    add_label_arguments(parser)
    add(
        "--reader",
        default=LoaderConfig().reader,
        help="the decoder of the originals (default: %(default)s)",
    )
    add(
        "--address",
        default="",
        help="a Ray cluster (default: the one this job runs on, else a local one)",
    )
    add(
        "--workers",
        type=int,
        help="videos indexed, and shards made by a local cluster, at a time (default: one per CPU)",
    )
    add(
        "--cache-dir",
        default="~/.cache/prp",
        metavar="DIR",
        help="each node's cache of originals from a bucket (default: %(default)s)",
    )
    add(
        "--cache-bytes",
        type=int,
        default=CACHE_BYTES,
        help="how large it may become (default: %(default)s)",
    )
    group = parser.add_argument_group(
        "prices", "in dollars; with any of them the report says what the same run costs again"
    )
    group.add_argument("--cpu-hour-price", type=float)
    group.add_argument("--get-price", type=float, help="of 1000 GETs")
    group.add_argument("--put-price", type=float, help="of 1000 PUTs")
    add("--verbose", action="store_true", help="Ray's own output as well")
    add_store_arguments(parser)


def run_prepare(arguments: argparse.Namespace) -> int:
    """Index, prepare, report; prints the URI of the prepared place."""
    from orchestrator.data.prepare import (
        on_cluster,
        prepare,
    )  # brings Ray, which no other command here needs

    settings = ShardSettings(
        kind=arguments.kind,
        height=arguments.height,
        width=arguments.width,
        quality=arguments.quality,
        crf=arguments.crf,
        shard_bytes=arguments.shard_bytes,
        reader=arguments.reader,
    )
    prices = Prices(
        cpu_hour=arguments.cpu_hour_price,
        thousand_gets=arguments.get_price,
        thousand_puts=arguments.put_price,
    )
    config = store_config(arguments)
    source = open_store(arguments.source, config)
    place = open_store(arguments.destination, config)
    check_places(source.uri, place.uri)
    if read_marker(source) is not None:
        raise UserError(
            f"{source.uri} holds prepared shards; prepare from the original videos, a "
            "second loss of quality helps nobody"
        )
    job = PrepareJob(
        source_uri=source.uri,
        uri=place.uri,
        settings=settings,
        loader=LoaderConfig(reader=arguments.reader, num_decoders=1),
        store=config,
        cache_dir=arguments.cache_dir,
        cache_capacity_bytes=arguments.cache_bytes,
    )
    manifest = _manifest_of(arguments, job)
    _, report = prepare(
        manifest,
        job,
        on_cluster(arguments.address, num_workers=arguments.workers, verbose=arguments.verbose),
        prices=prices,
        on_progress=say_prepare_progress,
    )
    for line in report_lines(report):
        print(line, file=sys.stderr)
    print(place.uri)
    return 0


def _manifest_of(arguments: argparse.Namespace, job: PrepareJob) -> Manifest:
    if not arguments.manifest:
        manifest, _ = index(
            arguments.source,
            splits_dir=arguments.splits,
            split=arguments.split,
            labels_csv=arguments.labels,
            loader=job.loader,
            store=job.store,
            num_workers=arguments.workers,
            on_progress=say_index_progress,
            cache_dir=Path(job.cache_dir).expanduser(),
            cache_capacity_bytes=job.cache_capacity_bytes,
        )
        return manifest
    if arguments.splits or arguments.labels:
        raise UserError(
            "--manifest says the labels and splits already; give --splits or --labels without it"
        )
    if said := check_region(job.source_uri, job.store):  # without a manifest, indexing asks
        print(said, file=sys.stderr)
    return read_manifest(arguments.manifest, job.store)


def say_index_progress(progress: IndexProgress) -> None:
    """One line that stays in its place on a terminal, and a line now and then elsewhere."""
    line = (
        f"{progress.num_done} of {progress.num_videos} videos, {progress.num_reused} known "
        f"before, {progress.num_quarantined} quarantined"
    )
    _say(line, progress.num_done, progress.num_videos, 1000)


def say_prepare_progress(progress: PrepareProgress) -> None:
    """As `say_index_progress`, for shards."""
    line = (
        f"{progress.num_done} of {progress.num_shards} shards, {progress.num_reused} "
        f"finished before, {progress.num_quarantined} videos quarantined"
    )
    _say(line, progress.num_done, progress.num_shards, 100)


def _say(line: str, num_done: int, num_all: int, every: int) -> None:
    if sys.stderr.isatty():
        print(
            f"\r\033[K{line}", end="" if num_done < num_all else "\n", file=sys.stderr, flush=True
        )
    elif num_done == num_all or num_done % every == 0:
        print(line, file=sys.stderr, flush=True)
