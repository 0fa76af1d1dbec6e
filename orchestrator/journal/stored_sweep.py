"""A sweep as any machine finds it: by its id in the storages that it knows, or by its folder's URI.

``<home>/sweeps/ID/storage.json`` says where a sweep lies whose driver ran on this machine. All such
files together are the storages that this machine knows, beside its home, which is one itself. They
are a cache: ``--storage URI`` and the full URI of a sweep's folder do without.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from orchestrator.config.store_config import StoreConfig
from orchestrator.config.sweep_spec import SweepSpec, home_dir, spec_of_values, sweep_dir
from orchestrator.config.typed_command import prp
from orchestrator.journal.journal_writer import JournalWriter
from orchestrator.journal.object_journal import JournalReader
from orchestrator.journal.process_identity import this_process
from orchestrator.journal.sweep_folder import (
    JOURNAL,
    SWEEPS,
    StoredSpec,
    SweepFolder,
    find_sweep,
    list_sweeps,
    open_sweep_folder,
)
from prp_core.data.object_store import LocalStore
from prp_core.documents import parse_json_object, record_from
from prp_core.errors import PrpError, UserError

PLACE = "storage.json"
OLD_SPEC = "sweep.json"  # of releases that kept a sweep on the disk of its driver


@dataclass(frozen=True)
class Place:
    """A storage, and how it is reached."""

    uri: str
    store: StoreConfig


@dataclass(frozen=True)
class StoredSweep:
    """A sweep that is in a storage: its folder there, its spec, and the spec as it was read."""

    folder: SweepFolder
    stored: StoredSpec
    spec: SweepSpec


def store_of(spec: SweepSpec) -> StoreConfig:
    """How the storage of the sweep of `spec` is reached."""
    return StoreConfig(**spec.config["store"])


def open_folder(spec: SweepSpec, *, check: bool = True) -> SweepFolder:
    """The folder of the sweep of `spec`. `check` as in `open_store`: a person is told in seconds
    that a store is away, a process of a sweep that runs waits for it.
    """
    return open_sweep_folder(spec.storage_uri, spec.sweep_id, store_of(spec), check=check)


def has_journal(spec: SweepSpec) -> bool:
    """Whether a coordinator of the sweep of `spec` has ever opened its journal; one request."""
    return next(iter(open_folder(spec).store.list(JOURNAL)), None) is not None


def read_journal(spec: SweepSpec) -> JournalReader:
    """The journal of the sweep of `spec`, for reading."""
    return JournalReader(open_folder(spec).store, JOURNAL)


def open_journal(spec: SweepSpec) -> JournalWriter:
    """The journal of the sweep of `spec`, for writing under `spec.epoch`. Raises `Fenced`, and
    `StoreUnavailable` when the store stays away for its deadline.
    """
    store = open_folder(spec, check=False).store
    return JournalWriter(store, JOURNAL, epoch=spec.epoch, holder=str(this_process()))


def load_sweep(
    sweep: str, storage: str | None = None, config: StoreConfig | None = None
) -> StoredSweep:
    """The sweep called `sweep`: an id, or the URI of its folder.

    An id is looked up in `storage`, without one in the storages that this machine knows. Raises
    `UserError`, which names the sweeps that there are, for one that is nowhere.
    """
    place, sweep_id = split_sweep(sweep)
    if place and storage and place != storage.rstrip("/"):
        raise UserError(f"{sweep} does not lie in --storage {storage}; leave one of them out")
    place = (place or storage or "").rstrip("/")
    if not place:
        return _find(sweep_id, config)
    if config is None:
        config = next((known.store for known in known_places() if known.uri == place), None)
    folder, stored = find_sweep(place, sweep_id, config)
    return StoredSweep(folder, stored, spec_of_values(stored.values, place))


def split_sweep(sweep: str) -> tuple[str, str]:
    """(storage, id) of a sweep's name: an id alone, or the full URI of its folder.

    Raises `UserError` for a URI that is no sweep's.
    """
    if "/" not in sweep:
        return "", sweep
    place, slash, sweep_id = sweep.rstrip("/").rpartition(f"/{SWEEPS}")
    if not slash or "/" in sweep_id or not place:
        raise UserError(
            f"{sweep!r} is not a sweep's folder; write STORAGE/sweeps/ID, or the id alone"
        )
    return (place if "://" in place else str(Path(place).expanduser().resolve())), sweep_id


def known_place(sweep_id: str) -> Place | None:
    """The storage in which this machine's last driver of `sweep_id` kept it; None: it had none."""
    return _read_place(sweep_dir(sweep_id, home_dir()) / PLACE)


def known_places() -> list[Place]:
    """The storages that this machine knows, its home first."""
    home = home_dir()
    places = {str(home): Place(str(home), StoreConfig())}
    for path in sorted((home / "sweeps").glob(f"*/{PLACE}")):
        place = _read_place(path)
        if place is not None:
            places[place.uri] = place
    return list(places.values())


def remember_place(spec: SweepSpec) -> None:
    """Keep where the sweep of `spec` lies, so that its id is enough on this machine."""
    if spec.storage_uri == str(home_dir()):
        return
    data = json.dumps({"uri": spec.storage_uri, "store": asdict(store_of(spec))}).encode()
    LocalStore(spec.state_dir).write(PLACE, data)


def is_of_earlier_release(sweep_id: str) -> bool:
    """Whether a release that kept sweeps on the disk of their driver left `sweep_id` here."""
    return (sweep_dir(sweep_id, home_dir()) / OLD_SPEC).is_file()


def sweeps_of_earlier_releases() -> list[str]:
    """The ids of the sweeps that such a release left here."""
    return sorted(path.parent.name for path in (home_dir() / "sweeps").glob(f"*/{OLD_SPEC}"))


def refuse_earlier_release(sweep_id: str) -> None:
    """Raise `UserError` where `sweep_id` is a sweep that such a release left here."""
    if is_of_earlier_release(sweep_id):
        raise UserError(
            f"Sweep {sweep_id!r} was made by an earlier release, which kept it in "
            f"{sweep_dir(sweep_id, home_dir())} ({OLD_SPEC}, trials.db): end it with that release, "
            f"or start a new sweep that begins with what it found: --warm-start {sweep_id}"
        )


def _find(sweep_id: str, config: StoreConfig | None) -> StoredSweep:
    places = known_places()
    near = known_place(sweep_id)
    for place in dict.fromkeys([*([near] if near else []), *places]):
        folder = open_sweep_folder(place.uri, sweep_id, config or place.store)
        stored = folder.read_spec()
        if stored is not None:
            return StoredSweep(folder, stored, spec_of_values(stored.values, place.uri))
    refuse_earlier_release(sweep_id)
    if len(places) == 1:
        find_sweep(places[0].uri, sweep_id)  # says which there are
    raise UserError(
        f"There is no sweep {sweep_id!r} in {', '.join(place.uri for place in places)}; "
        f"--storage URI looks elsewhere, `{prp('status')}` lists those that there are"
    )


def iterate_sweeps(
    storage: str | None = None, config: StoreConfig | None = None
) -> Iterator[StoredSweep | str]:
    """The sweeps of `storage`, without one those of every known storage, by id; for a sweep or a
    storage that cannot be read a line that says so.
    """
    places = (
        [Place(storage.rstrip("/"), config or StoreConfig())]
        if storage is not None
        else known_places()
    )
    for place in places:
        try:
            names = list_sweeps(place.uri, place.store)
        except PrpError as error:
            if storage is not None:
                raise
            yield f"{place.uri} cannot be read: {error}"
            continue
        for name in names:
            try:
                folder, stored = find_sweep(place.uri, name, place.store)
                yield StoredSweep(folder, stored, spec_of_values(stored.values, place.uri))
            except UserError as error:  # of another release, damaged, or removed since
                yield str(error)


def _read_place(path: Path) -> Place | None:
    """What a file of `remember_place` says; None where it cannot be used: it is a cache."""
    try:
        values = parse_json_object(path.read_bytes())
        return Place(str(values["uri"]), record_from(StoreConfig, values["store"]))
    except (OSError, ValueError, KeyError):
        return None
