"""Optuna's study as records of a sweep's journal: a storage for `optuna.create_study`.

A study is rebuilt from the journal's objects alone, by any process that reaches them, equal to the
last digit. Optuna's snapshots of its own journals are pickles, which run code when they are read:
there are none here, since whoever can write to a storage could put one there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend

from orchestrator.journal.journal_writer import JournalWriter
from orchestrator.journal.object_journal import JournalReader
from prp_core.errors import PrpError

STUDY = "study"


class SweepJournalBackend(BaseJournalBackend):
    """Optuna's operations as records of kind ``study`` in `journal`."""

    def __init__(self, journal: JournalReader) -> None:
        self._journal = journal

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """See `BaseJournalBackend`; from memory."""
        return (record["log"] for record in self._journal.read(STUDY, log_number_from))

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """See `BaseJournalBackend`; durable when it returns, except within a `batch`. Raises
        `Fenced`.
        """
        if not isinstance(self._journal, JournalWriter):
            raise PrpError(f"{self._journal.uri} was opened for reading alone")
        self._journal.append([{"kind": STUDY, "log": log} for log in logs])


def open_study_storage(journal: JournalReader) -> JournalStorage:
    """Optuna's storage over `journal`. What a `JournalReader` reads later is seen after its
    `refresh`; to change a study needs a `JournalWriter`.
    """
    return JournalStorage(SweepJournalBackend(journal))
