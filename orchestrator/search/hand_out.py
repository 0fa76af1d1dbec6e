"""A trial's hand-out: which driver has the trial, which attempt is the newest, how many failed.

A note of the trial in the study, written whole at each change, so that a coordinator that died in
between finds the one state or the other. All changes are pure: each returns the next value.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class HandOut:
    """Trial drivers are known by `slot` (empty: nobody has the trial), a sweep's drivers by
    `epoch`.

    Attempts are numbered over the trial's life: `first_attempt` is the hand-out's, `attempt` the
    newest, which alone is heard. `num_failures` of them in a row ended without an outcome and
    without a new checkpoint; the newest did so for `cause`. `step` is the newest committed step
    that is known, `failed_attempt` the newest attempt whose failure is known, `is_counted` whether
    that failure is the trial's own.
    """

    epoch: int = 0
    slot: str = ""
    first_attempt: int = 0
    attempt: int = 0
    step: int = 0
    num_failures: int = 0
    failed_attempt: int = 0
    is_counted: bool = False
    cause: str = ""

    def to(self, epoch: int, slot: str) -> HandOut:
        """The trial is given to the driver of `slot`. Failures of another epoch are forgotten: a
        person has started the sweep again.
        """
        attempt = self.attempt + 1
        given = replace(self, epoch=epoch, slot=slot, first_attempt=attempt, attempt=attempt)
        return given if epoch == self.epoch else replace(given, num_failures=0, is_counted=False)

    def begun(self, step: int) -> HandOut:
        """The next workers start, from the checkpoint after `step` steps. Where that is a new one,
        only a failure after it still counts.
        """
        begun = replace(self, attempt=self.attempt + 1)
        if step <= self.step:
            return begun
        return replace(begun, step=step, num_failures=int(self.is_counted))

    def failed(self, cause: str, *, is_counted: bool) -> HandOut:
        """The newest attempt has failed; told twice, it counts once."""
        if self.failed_attempt == self.attempt:
            return self
        return replace(
            self,
            num_failures=self.num_failures + int(is_counted),
            failed_attempt=self.attempt,
            is_counted=is_counted,
            cause=cause,
        )

    def free(self) -> HandOut:
        """Nobody has the trial any more."""
        return replace(self, slot="")


NOT_HANDED_OUT = HandOut()
