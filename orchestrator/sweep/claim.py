"""The claim of a driver on its sweep: found by its name, compared, leased, before Ray is imported.

Nothing of the sweep is written before its lease is held, so a driver that is refused changes no
byte; and nothing is left of a new sweep whose input turns out to be wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.config.run_config import RunConfig
from orchestrator.config.sweep_spec import SweepSpec, home_dir, new_sweep_id
from orchestrator.journal.lease import Lease, LeaseLost, acquire
from orchestrator.journal.stored_sweep import (
    StoredSweep,
    known_place,
    load_sweep,
    refuse_earlier_release,
    remember_place,
)
from orchestrator.journal.sweep_folder import LEASE, StoredSpec, SweepFolder, open_sweep_folder
from orchestrator.storage.conditional_writes import check_conditional_writes
from orchestrator.storage.open_store import open_store
from orchestrator.sweep.initial_encoder import with_initial_encoder
from orchestrator.sweep.kept import Kept, check_same_space, keep_config
from orchestrator.sweep.settings import (
    DEFAULT_PRESET,
    check_videos_given,
    given_options,
    new_config,
    store_of,
    study_name,
)
from orchestrator.sweep.writable import check_home, check_storage
from prp_core.errors import StoreError, UserError

if TYPE_CHECKING:
    from orchestrator.search.space import Space


@dataclass(kw_only=True)
class Claim:
    """A sweep that this process drives: its `folder`, its `spec` where it goes on (None: it is
    new), its config, and its `lease` (None: a dry run, which writes nothing).

    `options` are those given, `study` is the name of the file of the space, `storage_uri` where the
    sweep lies.
    """

    folder: SweepFolder
    storage_uri: str
    spec: SweepSpec | None
    kept: Kept
    options: dict[str, Any]
    study: str
    lease: Lease | None = None
    stored: StoredSpec | None = None

    @property
    def sweep_id(self) -> str:
        """The sweep's id."""
        return self.folder.sweep_id

    @property
    def config(self) -> RunConfig:
        """The config of the sweep, with what was changed now."""
        return self.kept.config

    @property
    def epoch(self) -> int:
        """The epoch under which this process may write; 0 in a dry run."""
        return self.lease.epoch if self.lease else 0

    def keep(self, spec: SweepSpec) -> None:
        """Write `spec` into the sweep's folder, unless that holds it; where the sweep lies is
        remembered on this machine.
        """
        assert self.lease is not None, "a dry run writes nothing"
        self.lease.check()
        values = spec.to_values()
        if self.stored is None:
            self.stored = self.folder.create_spec(values)
        elif self.stored.values != values:
            self.stored = self.folder.change_spec(self.stored, values)
        remember_place(spec)

    def loss(self) -> LeaseLost | None:
        """That another driver has taken the sweep over; None where it has not. Asks the storage;
        where that is away, nobody has.
        """
        try:
            if self.lease is not None:
                self.lease.renew()
                self.lease.check()
        except LeaseLost as loss:
            return loss
        except StoreError:
            return None
        return None


@contextlib.contextmanager
def claim_sweep(arguments: argparse.Namespace, space: Space) -> Iterator[Claim]:
    """Hold the sweep that `arguments` name, or a new one, within the block.

    Raises `UserError` for wrong options, for those and a space that differ from what the sweep was
    started with, and for a storage that cannot hold a sweep; `LeaseHeld` where another driver is
    alive; `LeaseLost` where another one took the sweep over within the block.
    """
    check_home()
    claim = _found(arguments, space)
    if arguments.dry_run:
        yield claim
        return
    if claim.spec is None:
        check_conditional_writes(open_store(claim.storage_uri, claim.config.store))
    lease = acquire(
        claim.folder.store, f"Sweep {claim.sweep_id}", key=LEASE, on_lost=_interrupt_driver
    )
    try:
        claim.lease = lease
        _read_again(claim, space)
        yield claim
        lease.check()
    except KeyboardInterrupt:
        lease.check()  # raises where this is why we were interrupted
        raise
    finally:
        if claim.stored is None:
            lease.discard()
            _remove_empty(claim)
        else:
            lease.release()


def _found(arguments: argparse.Namespace, space: Space) -> Claim:
    """The claim on the sweep that `arguments` name, as far as reading tells."""
    options = given_options(arguments)
    study = study_name(space)
    if "init_from" in options:
        named = None if arguments.resume else new_config(options, study).encoder.name
        options = with_initial_encoder(options, named, copies=not arguments.dry_run)
    if arguments.resume and arguments.sweep:
        raise UserError(
            f"--resume {arguments.resume} continues a sweep, --sweep {arguments.sweep} starts "
            "or continues one: give one of them"
        )
    if arguments.resume:
        sweep = load_sweep(arguments.resume, options.get("storage"), store_of(options))
        return _claim_of(sweep, options, study, space)
    config = new_config(options, study)
    check_videos_given(config, options.get("preset", DEFAULT_PRESET))
    storage_uri = options.get("storage") or str(home_dir())
    sweep_id = arguments.sweep or new_sweep_id(config.sweep.name)
    store = config.store
    if arguments.sweep and "storage" not in options and (place := known_place(sweep_id)):
        storage_uri, store = place.uri, place.store
    refuse_earlier_release(sweep_id)
    check_storage(storage_uri)
    folder = open_sweep_folder(storage_uri, sweep_id, store)
    stored = folder.read_spec() if arguments.sweep else None
    if stored is not None:
        found = load_sweep(sweep_id, storage_uri, store)
        return _claim_of(found, options, study, space)
    return Claim(
        folder=folder,
        storage_uri=storage_uri.rstrip("/"),
        spec=None,
        kept=Kept(config),
        options=options,
        study=study,
    )


def _claim_of(sweep: StoredSweep, options: dict[str, Any], study: str, space: Space) -> Claim:
    """The claim on a sweep that goes on. Raises `UserError` where it is another one now."""
    kept = keep_config(sweep.spec, options, study)
    from orchestrator.search.space_record import record_space  # Optuna: most of a second

    check_same_space(sweep.spec, record_space(space))
    return Claim(
        folder=sweep.folder,
        storage_uri=sweep.spec.storage_uri,
        spec=sweep.spec,
        kept=kept,
        options=options,
        study=study,
        stored=sweep.stored,
    )


def _read_again(claim: Claim, space: Space) -> None:
    """Take up what the driver before this one wrote since the spec was read."""
    stored = claim.folder.read_spec()
    if stored is None or (claim.stored is not None and stored.etag == claim.stored.etag):
        return
    found = load_sweep(claim.sweep_id, claim.storage_uri, claim.config.store)
    now = _claim_of(found, claim.options, claim.study, space)
    claim.stored = now.stored
    claim.spec = now.spec
    claim.kept = now.kept


def _interrupt_driver(loss: LeaseLost) -> None:
    """End what the main thread is at; `claim_sweep` says why."""
    main = threading.main_thread()
    if main is not threading.current_thread() and main.ident is not None:
        signal.pthread_kill(main.ident, signal.SIGINT)


def _remove_empty(claim: Claim) -> None:
    """Remove the folder of a sweep that did not come to be, from a local storage."""
    if "://" not in claim.storage_uri:
        with contextlib.suppress(OSError):
            (Path(claim.storage_uri) / "sweeps" / claim.sweep_id).rmdir()
