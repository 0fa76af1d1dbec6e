"""The report of a prepare run, what it made and what it took: numbers and lines for a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from orchestrator.config.typed_command import prp
from orchestrator.data.prepare_task import ShardRecord
from orchestrator.storage.prepared_place import REPORT, Marker
from prp_core.checks import check
from prp_core.data.manifest import Manifest
from prp_core.data.object_store import ObjectStore, read_all
from prp_core.documents import parse_json_object, record_from
from prp_core.errors import ObjectMissing, UserError

NUM_FIXED_PUTS = 5  # beside two for each shard: index, manifest, report and the two markers


@dataclass(frozen=True, kw_only=True)
class Prices:
    """Prices in dollars; None where the user gave none, and then no cost is reported."""

    cpu_hour: float | None = None
    """Dollars for an hour of one CPU."""
    thousand_gets: float | None = None
    """Dollars for 1000 GET requests."""
    thousand_puts: float | None = None
    """Dollars for 1000 PUT requests."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            check(value is None or value >= 0, f"price of {name}", value, "must not be negative")


@dataclass(frozen=True, kw_only=True)
class RerunCost:
    """What the same run from the beginning would take, estimated from what this one took."""

    cpu_hours: float
    gets: int
    puts: int
    bytes_read: int
    bytes_written: int
    dollars: float | None


@dataclass(frozen=True, kw_only=True)
class PrepareReport:
    """What a prepare run made and took.

    `cpu_seconds` are those of all tasks, also of runs before this one; `wall_seconds` those of the
    last run alone. `num_reused_shards` of the shards were finished before it.
    """

    uri: str
    marker: Marker
    num_reused_shards: int
    bytes_in: int
    bytes_out: int
    wall_seconds: float
    cpu_seconds: float
    frames_per_cpu_second: float
    again: RerunCost
    quarantined: tuple[dict[str, str], ...] = field(default=())


def report_from(tree: Mapping[str, Any]) -> PrepareReport:
    """The report from its JSON tree. Raises `ValueError`."""
    return record_from(PrepareReport, tree)


def read_report(place: ObjectStore) -> PrepareReport:
    """The report that lies in a prepared place. Raises `UserError`."""
    try:
        return report_from(parse_json_object(read_all(place, REPORT)))
    except (ObjectMissing, ValueError) as error:
        raise UserError(
            f"{place.uri}/{REPORT} cannot be read ({error}); the shards are whole, train from them"
        ) from None


def make_report(
    uri: str,
    marker: Marker,
    manifest: Manifest,
    records: Sequence[ShardRecord],
    *,
    num_reused_shards: int,
    wall_seconds: float,
    prices: Prices,
) -> PrepareReport:
    """The report of a run whose tasks left `records`.

    `manifest` is the prepared one, which names the quarantined videos.
    """
    cpu_seconds = sum(record.cpu_seconds for record in records)
    bytes_in = sum(record.bytes_in for record in records)
    is_bucket = marker.source_uri.startswith("s3:")
    again = RerunCost(
        cpu_hours=cpu_seconds / 3600,
        gets=marker.num_videos if is_bucket else 0,
        puts=2 * marker.num_shards + NUM_FIXED_PUTS if uri.startswith("s3:") else 0,
        bytes_read=bytes_in,
        bytes_written=marker.num_bytes,
        dollars=None,
    )
    again = RerunCost(**{**asdict(again), "dollars": dollars(again, prices)})
    return PrepareReport(
        uri=uri,
        marker=marker,
        num_reused_shards=num_reused_shards,
        bytes_in=bytes_in,
        bytes_out=marker.num_bytes,
        wall_seconds=wall_seconds,
        cpu_seconds=cpu_seconds,
        frames_per_cpu_second=marker.num_frames / cpu_seconds if cpu_seconds else 0.0,
        again=again,
        quarantined=tuple(
            {"key": record.key, "reason": record.reason, "detail": record.detail}
            for record in manifest.quarantined()
        ),
    )


def dollars(again: RerunCost, prices: Prices) -> float | None:
    """The sum over what has a price; None when nothing has."""
    amounts = (
        (prices.cpu_hour, again.cpu_hours),
        (prices.thousand_gets, again.gets / 1000),
        (prices.thousand_puts, again.puts / 1000),
    )
    priced = [price * amount for price, amount in amounts if price is not None]
    return sum(priced) if priced else None


def report_lines(report: PrepareReport) -> list[str]:
    """The report as lines for a person."""
    marker = report.marker
    again = report.again
    reasons = Counter(entry["reason"] for entry in report.quarantined)
    lines = [
        f"{marker.num_videos} videos, {marker.num_frames} frames in {marker.num_shards} shards "
        f"({marker.settings.codec}, {marker.settings.height} x {marker.settings.width}); "
        f"{report.num_reused_shards} of them were finished before",
        f"{report.bytes_in / 1e9:.3f} GB in, {report.bytes_out / 1e9:.3f} GB out, "
        f"{report.bytes_out / max(1, marker.num_frames):.0f} bytes a frame with headers",
        f"{report.wall_seconds:.0f} s, {report.cpu_seconds:.0f} CPU-seconds of tasks, "
        f"{report.frames_per_cpu_second:.0f} frames a CPU-second",
        f"again: {again.cpu_hours:.2f} CPU-hours, {again.gets} GETs, {again.puts} PUTs"
        + (f", ${again.dollars:.2f}" if again.dollars is not None else ""),
    ]
    if reasons:
        words = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
        lines.append(
            f"{sum(reasons.values())} quarantined: {words}; "
            f"see them with: {prp(f'data show {report.uri}')}"
        )
    return lines
