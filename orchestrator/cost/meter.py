"""The meter of one run: from what is heard of it, and when, to slices of time for the ledger.

Pure but for its own state: every method takes the time and returns what is to be written. A run is
pending between `on_requested` and its workers' first message, then busy until it ends. When workers
die nobody says so: the time since the last message goes into the next start as pending, and steps
up to the highest that was reported count as redone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from orchestrator.cost.ledger import LedgerEntry

IDLE = "idle"
PENDING = "pending"
BUSY = "busy"
SLICE_SECONDS = 30.0  # what a kill -9 of everything can lose for each run, at most


@dataclass(frozen=True)
class Held:
    """What a run's workers hold together."""

    gpus: float
    cpus: float


class CostMeter:
    """Turns the words of the run `owner` (kind, trial, seed) into entries. `rungs` are the epochs
    at which it is judged, ascending.
    """

    def __init__(
        self,
        owner: tuple[str, int, int | None],
        held: Held,
        rungs: tuple[int, ...],
        last: LedgerEntry | None = None,
    ) -> None:
        """`last` is the run's newest entry in the ledger: a restarted coordinator goes on from its
        end.
        """
        self._owner = owner
        self._held = held
        self._rungs = rungs
        self._attempt = last.attempt if last else 0
        self._target = last.rung_epoch if last else rungs[0]
        self._state = (
            BUSY if last else IDLE
        )  # until told otherwise, what ran when the last slice was written runs on
        self._since = self._heard = last.ended if last else 0.0
        self._step = self._highest = -1
        self._window_start = self._heard
        self._waited = self._redone = 0.0
        self._was_heard = False

    @property
    def busy_since_slice(self) -> float:
        """Seconds that were heard of and are in no entry yet."""
        return self._heard - self._since if self._state == BUSY else 0.0

    def on_requested(self, now: float) -> list[LedgerEntry]:
        """Resources are asked for; whatever ran before is over (nobody heard of it since, so
        nothing more is charged).
        """
        entries = self._close(self._heard) if self._state == BUSY else []
        self._state = PENDING
        self._since = now
        self._heard = now
        return entries

    def on_started(self, now: float) -> list[LedgerEntry]:
        """The workers run: for the first time, or again after one died."""
        entries = self._close(self._heard) if self._state == BUSY else []
        pending_since = now if self._state == IDLE else self._since
        self._attempt = self._attempt + 1
        entries.append(self._entry(pending_since, now, pending_seconds=now - pending_since))
        self._state = BUSY
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
        """Its workers have done `step` steps; `wait_share` is the part of the time since the last
        such word that was waiting for videos.
        """
        entries = self._take_up(now)
        if self._state != BUSY:
            return entries
        self._was_heard = True
        self._redone += redone_share(self._step, step, self._highest) * (now - self._heard)
        if wait_share is not None:
            self._waited += min(1.0, wait_share) * (now - self._window_start)
            self._window_start = now
        self._step = max(self._step, step)
        self._heard = now
        return entries + (self._close(now) if now - self._since >= SLICE_SECONDS else [])

    def on_rung(self, now: float, epoch: int) -> list[LedgerEntry]:
        """The rung after `epoch` epochs is reached: what comes now is on the way to the next."""
        entries = self._take_up(now)
        if self._state != BUSY:
            return entries
        self._heard = self._window_start = now
        self._was_heard = True
        entries += self._close(now, rung_epoch=epoch)
        self._target = next((rung for rung in self._rungs if rung > epoch), epoch)
        return entries

    def on_ended(self, now: float, late_seconds: float = 0.0) -> list[LedgerEntry]:
        """The run is over; `late_seconds` of the entries so far came after the rung at which it was
        pruned.

        Where a restarted coordinator has heard nothing of it, it may have been over for long:
        nothing since its last entry is charged.
        """
        entries = (
            self._close(now if self._was_heard else self._heard)
            if self._state == BUSY
            else self._pending(now)
        )
        self._state = IDLE
        self._since = now
        self._heard = now
        if late_seconds > 0:
            entries.append(self._entry(now, now, late_seconds=late_seconds))
        return entries

    def _take_up(self, now: float) -> list[LedgerEntry]:
        """Workers that are heard of without having said that they started: the word was lost with a
        coordinator that died.
        """
        return self.on_started(now) if self._state == PENDING else []

    def _pending(self, now: float) -> list[LedgerEntry]:
        return (
            [self._entry(self._since, now, pending_seconds=now - self._since)]
            if self._state == PENDING
            else []
        )

    def _close(self, now: float, rung_epoch: int | None = None) -> list[LedgerEntry]:
        seconds = now - self._since
        waited = min(self._waited, seconds)
        redone = min(self._redone, seconds)
        since = self._since
        self._since = now
        self._waited = self._waited - waited
        self._redone = self._redone - redone
        if seconds <= 0:
            return []
        return [
            self._entry(
                since,
                now,
                rung_epoch,
                busy_seconds=seconds,
                data_wait_seconds=waited,
                redone_seconds=redone,
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


def redone_share(before: int, after: int, highest: int) -> float:
    """Which part of the way from step `before` (-1: unknown) to step `after` had been gone before,
    up to step `highest`.
    """
    if highest < 0 or before >= highest:
        return 0.0
    if after <= highest:
        return 1.0
    return 0.0 if before < 0 else (highest - before) / (after - before)
