"""The notes of the study in which the coordinator keeps what people asked of the sweep."""

from __future__ import annotations

PAUSED = "steering/paused"
"""Of the sweep: who paused it; empty: nobody."""

STOPPED = "steering/stopped"
"""Of the sweep: who stopped it, in which epoch; JSON."""

TRIAL_STOPPED = "stopped_by"
"""Of a trial: why it stops, for a person."""

TRIALS_OVER = "steering/trials_over"
"""Of the sweep: the epoch of the driver that starts no more trials, because it ends the sweep."""
