"""The cost meter of one run: its messages, and when they came, become slices for the ledger.

Pure but for its own state: every method takes the time and returns what is to be written. A run is
queued between `on_requested` and its workers' first message, then busy until it ends. When workers
die nobody says so: the time since the last message goes into the next start as queued, and steps up
to the highest that was reported count as recomputed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from orchestrator.cost.ledger import LedgerEntry, Owner

SLICE_SECONDS = 30.0  # what a kill -9 of everything can lose for each run, at most


class MeterState(Enum):
    """What the resources of a run are doing."""

    IDLE = "idle"
    """Neither requested nor held."""
    QUEUED = "queued"
    """Requested, not yet held."""
    BUSY = "busy"
    """Held by workers."""


@dataclass(frozen=True)
class Held:
    """What a run's workers hold together."""

    gpus: float
    cpus: float


class CostMeter:
    """Turns the messages of the run `owner` into ledger entries."""

    def __init__(
        self,
        owner: Owner,
        held: Held,
        rungs: tuple[int, ...],
        last: LedgerEntry | None = None,
    ) -> None:
        """`rungs` are the epochs at which the run is evaluated, ascending; `last` is its newest
        entry in the ledger, from whose end a restarted coordinator goes on.
        """
        self._owner = owner
        self._held = held
        self._rungs = rungs
        self._attempt = last.attempt if last else 0
        self._target = last.rung_epoch if last else rungs[0]
        # Until told otherwise, a run that had an entry runs on.
        self._state = MeterState.BUSY if last else MeterState.IDLE
        self._since = last.ended if last else 0.0
        self._heard = self._since
        self._step = -1
        self._highest = -1
        self._window_start = self._heard
        self._waited = 0.0
        self._recomputed = 0.0
        self._was_heard = False

    @property
    def busy_since_slice(self) -> float:
        """Busy seconds that were reported and are in no entry yet."""
        return self._heard - self._since if self._state == MeterState.BUSY else 0.0

    def on_requested(self, now: float) -> list[LedgerEntry]:
        """Resources are requested; what ran before is over (nothing was heard of it since, so
        nothing more is charged).
        """
        entries = self._close(self._heard) if self._state == MeterState.BUSY else []
        self._state = MeterState.QUEUED
        self._since = now
        self._heard = now
        return entries

    def on_started(self, now: float) -> list[LedgerEntry]:
        """The workers run: for the first time, or again after one died."""
        entries = self._close(self._heard) if self._state == MeterState.BUSY else []
        queued_since = now if self._state == MeterState.IDLE else self._since
        self._attempt = self._attempt + 1
        entries.append(self._entry(queued_since, now, queued_seconds=now - queued_since))
        self._state = MeterState.BUSY
        self._since = now
        self._heard = now
        self._window_start = now
        self._was_heard = True
        self._highest = max(self._highest, self._step)
        self._step = -1
        return entries

    def on_progress(
        self, now: float, step: int, wait_share: float | None = None
    ) -> list[LedgerEntry]:
        """The workers have done `step` steps; `wait_share` (0 to 1) of the time since the last such
        message was waiting for videos.
        """
        entries = self._begin_unannounced(now)
        if self._state != MeterState.BUSY:
            return entries
        self._was_heard = True
        share = recomputed_share(self._step, step, self._highest)
        self._recomputed += share * (now - self._heard)
        if wait_share is not None:
            self._waited += min(1.0, wait_share) * (now - self._window_start)
            self._window_start = now
        self._step = max(self._step, step)
        self._heard = now
        return entries + (self._close(now) if now - self._since >= SLICE_SECONDS else [])

    def on_rung(self, now: float, epoch: int) -> list[LedgerEntry]:
        """The rung after `epoch` epochs is reached: what comes now is on the way to the next."""
        entries = self._begin_unannounced(now)
        if self._state != MeterState.BUSY:
            return entries
        self._heard = now
        self._window_start = now
        self._was_heard = True
        entries += self._close(now, rung_epoch=epoch)
        self._target = next((rung for rung in self._rungs if rung > epoch), epoch)
        return entries

    def on_ended(self, now: float, after_pruning_seconds: float = 0.0) -> list[LedgerEntry]:
        """The run is over; so many seconds of its entries came after the rung at which it was
        pruned.

        Where a restarted coordinator has heard nothing of it, it may have been over for long:
        nothing since its last entry is charged.
        """
        entries = (
            self._close(now if self._was_heard else self._heard)
            if self._state == MeterState.BUSY
            else self._close_queued(now)
        )
        self._state = MeterState.IDLE
        self._since = now
        self._heard = now
        if after_pruning_seconds > 0:
            entries.append(self._entry(now, now, after_pruning_seconds=after_pruning_seconds))
        return entries

    def _begin_unannounced(self, now: float) -> list[LedgerEntry]:
        """Start the workers that report without having said that they started: that message was
        lost with a coordinator that died.
        """
        return self.on_started(now) if self._state == MeterState.QUEUED else []

    def _close_queued(self, now: float) -> list[LedgerEntry]:
        return (
            [self._entry(self._since, now, queued_seconds=now - self._since)]
            if self._state == MeterState.QUEUED
            else []
        )

    def _close(self, now: float, rung_epoch: int | None = None) -> list[LedgerEntry]:
        seconds = now - self._since
        waited = min(self._waited, seconds)
        recomputed = min(self._recomputed, seconds)
        since = self._since
        self._since = now
        self._waited = self._waited - waited
        self._recomputed = self._recomputed - recomputed
        if seconds <= 0:
            return []
        return [
            self._entry(
                since,
                now,
                rung_epoch,
                busy_seconds=seconds,
                data_wait_seconds=waited,
                recomputed_seconds=recomputed,
            )
        ]

    def _entry(
        self, started: float, ended: float, rung_epoch: int | None = None, **seconds: float
    ) -> LedgerEntry:
        kind, trial, seed = self._owner
        target = self._target if rung_epoch is None else rung_epoch
        attempt = max(1, self._attempt)
        held = self._held
        entry = LedgerEntry(
            kind=kind,
            trial=trial,
            seed=seed,
            rung_epoch=target,
            attempt=attempt,
            started=started,
            ended=ended,
            gpus=held.gpus,
            cpus=held.cpus,
        )
        # every field named there is a float
        return replace(entry, **seconds)  # type: ignore[arg-type]


def recomputed_share(before: int, after: int, highest: int) -> float:
    """The share of the steps from `before` (-1: unknown) to `after` that had been trained before,
    up to step `highest` (-1: none).
    """
    if highest < 0 or before >= highest:
        return 0.0
    if after <= highest:
        return 1.0
    return 0.0 if before < 0 else (highest - before) / (after - before)
