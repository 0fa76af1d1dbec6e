"""Journals of tests: one in a folder of its own, and that of a sweep that ran."""

from __future__ import annotations

from pathlib import Path

import optuna

from orchestrator.cost.ledger import LedgerEntry, read_ledger
from orchestrator.journal.journal_writer import JournalWriter
from orchestrator.journal.object_journal import JournalReader
from orchestrator.journal.stored_sweep import load_sweep, open_folder
from orchestrator.search.journal_backend import open_study_storage
from prp_core.data.object_store import LocalStore


def journal_in(folder: Path, epoch: int = 1) -> JournalWriter:
    """A journal in `folder`, opened for writing."""
    return JournalWriter(
        LocalStore(folder), epoch=epoch, holder="a test", merges_in_background=False
    )


def journal_of(storage: Path | str, sweep_id: str) -> JournalReader:
    """The journal of a sweep, for reading."""
    return JournalReader(open_folder(load_sweep(sweep_id, str(storage)).spec).store)


def study_of(storage: Path | str, sweep_id: str) -> optuna.Study:
    """The study of a sweep, as Optuna itself reads it from the journal."""
    journal = journal_of(storage, sweep_id)
    return optuna.load_study(storage=open_study_storage(journal), study_name=sweep_id)


def ledger_of(storage: Path | str, sweep_id: str) -> list[LedgerEntry]:
    """The ledger of a sweep."""
    return read_ledger(journal_of(storage, sweep_id))
