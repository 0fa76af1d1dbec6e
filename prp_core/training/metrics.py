"""The names of training's metrics, and their means over steps.

- ``train/loss``: weighted sum of the losses of all tasks that are on;
- ``train/rate_loss``, ``train/reconstruction_loss``, ``train/direction_loss``: a task's loss,
  unweighted; there where its task is on, like the task's other metrics;
- ``train/rate_accuracy``, ``train/rate_accuracy_over_chance``: of the rate classifier; over chance:
  0 = guessing, 1 = perfect; ``train/direction_accuracy``: of the direction classifier;
- ``train/reconstruction_contrast``: the reconstruction's standard deviation within a clip as a
  share of the target's; 0 = one flat colour;
- ``held_out/rate_accuracy``, ``held_out/rate_accuracy_over_chance``: of the rate classifier on
  validation videos, at the end; ``metadata/rate_accuracy``, ``metadata/rate_chance``: of a
  classifier that sees length, frame rate, size and codec alone, and of the commonest rate;
- ``train/gradient_norm``: over all parameters, before clipping;
- ``train/learning_rate``: of the encoder, at the end of the log window;
- ``epoch/...``: the ``train/`` metrics over a whole epoch;
- ``rate_confusion/<true>_as_<predicted>``: of the epoch's clips of one rate, the share that was
  classified so; at an epoch's end;
- ``time/data_wait_seconds``, ``time/compute_seconds``: per step, mean over workers: waiting for
  frames, computing on them; ``time/data_wait_share``: the share of the time that was waiting;
  ``time/epoch_data_wait_share``: the same over a whole epoch;
- ``time/evaluation_seconds``: of the evaluation at a rung;
- ``data/...``: counters of the loader, summed over the workers since they started;
- ``data/samples``, ``data/quarantined``, ``data/changed``, ``data/replaced``, ``data/shrunk``: of
  the samples and their videos;
- ``data/decoder_starts``, ``data/decode_seconds``, ``data/decoder_sent_bytes``: of the decode
  processes; CPU-seconds; bytes of frames that came over a socket, not through shared memory;
- ``data/cache_...``: of the node cache's objects: hits, misses, downloads, bytes, evicted,
  bypassed, prefetched, corrupt;
- ``data/frames_...``: of the cache of decoded frames: hits, misses (videos decoded), bypassed,
  evicted, corrupt, bytes, verdicts on broken videos;
- ``data/cache_hit_rate``, ``data/frames_hit_rate``: hits among all requests to the tier, 0 to 1;
- ``data/advice``: what would help when videos come too slowly: the place in `data_health.ADVICE`,
  0 = nothing;
- ``data/store_...``: requests to a remote store, bytes, retries in all and by cause, seconds
  waited before them.

Losses of two trials are not comparable where the trials differ in loss weights, rates or clip
length; what is measured downstream is.
"""

from __future__ import annotations

from collections.abc import Mapping

OBJECTIVE = "retrieval/recall_at_1"


class RunningMean:
    """Means of named numbers over steps, which all have the same number of clips."""

    def __init__(self) -> None:
        self.num_steps = 0
        self._sums: dict[str, float] = {}

    def add(self, values: Mapping[str, float]) -> None:
        """Count one step's values."""
        self.num_steps += 1
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value

    def means(self) -> dict[str, float]:
        """The mean of each number; empty before the first step."""
        return {name: total / self.num_steps for name, total in self._sums.items()}

    def clear(self) -> None:
        """Start again, without any step."""
        self.num_steps = 0
        self._sums = {}

    def state(self) -> dict[str, object]:
        """What `load_state` needs to continue bit for bit."""
        return {"num_steps": self.num_steps, "sums": dict(self._sums)}

    def load_state(self, state: Mapping[str, object]) -> None:
        """Continue where `state` was taken."""
        num_steps = state["num_steps"]
        sums = state["sums"]
        assert isinstance(num_steps, int) and isinstance(sums, dict), state
        self.num_steps = num_steps
        self._sums = dict(sums)


def renamed(metrics: Mapping[str, float], old_prefix: str, new_prefix: str) -> dict[str, float]:
    """`metrics` with `old_prefix` of each name replaced; names without it are left out."""
    return {
        new_prefix + name.removeprefix(old_prefix): value
        for name, value in metrics.items()
        if name.startswith(old_prefix)
    }
