"""Fine-tuning for recognition that logs each epoch and resumes from its newest checkpoint.

The same checkpoints as in pretraining: written by a thread, committed whole or not at all, and
continued bit for bit. What a step sees is a pure function of (seed, epoch, video).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from prp_core.agreement import first_alone, together, together_asking
from prp_core.allocator import keep_freed_memory
from prp_core.errors import UserError
from prp_core.evaluation.downstream import EvaluatedConfig, EvaluationVideos
from prp_core.evaluation.recognition import FineTuning, Recogniser
from prp_core.reporting import Reporter
from prp_core.training.checkpoint import CheckpointFolder, from_bytes, to_bytes
from prp_core.training.checkpoint_writer import CheckpointWriter
from prp_core.training.progress_state import TrainingPart, flatten
from prp_core.training.watchdog import Signals
from prp_core.world import World

CHECKPOINT_MINUTES = 5.0


@dataclass(frozen=True)
class FineTuned:
    """The end of a fine-tuning: the tuned network, whose logits stand for `labels`, and its
    ``recognition/...`` on the queries.
    """

    network: Recogniser
    labels: tuple[str, ...]
    metrics: Mapping[str, float]


def fine_tune(
    encoder: nn.Module,
    config: EvaluatedConfig,
    videos: EvaluationVideos,
    world: World,
    *,
    checkpoints: CheckpointFolder,
    reporter: Reporter,
    signals: Signals | None = None,
    checkpoint_every_minutes: float = CHECKPOINT_MINUTES,
    clock: Callable[[], float] = time.perf_counter,
) -> FineTuned:
    """Fine-tune a copy of `encoder` on the gallery; ``recognition/accuracy`` on the queries.

    Every worker of `world` calls it. ``config.evaluation.recognition`` is not None. Every layer
    learns, the linear one from new weights. Training sees one random clip of ``views.clip_length``
    consecutive frames of each video and epoch, with a random crop; all videos count, also the last
    incomplete batch. Accuracy is top-1 of the mean of the logits over ``views.num_clips`` clips,
    with the weights after the last epoch: none are chosen by looking at the queries.

    Logs ``recognition/train_loss``, ``train_accuracy`` and ``learning_rate`` after each epoch. A
    checkpoint is written after an epoch unless the one before is so young that it would take more
    than a hundredth of the time, after so many minutes, after the last epoch, and when the machine
    of a worker is announced to go away (`signals`); a run continues from the newest one at the very
    step. Raises `UserError` as `check_labels` does, for too few videos, and when the checkpoint is
    of another fine-tuning; `DivergedError` for a loss that is not finite.
    """
    videos.check_labels()
    num_videos = len(videos.gallery)
    if num_videos < 2 * world.size:
        raise UserError(
            f"{num_videos} training videos are too few to fine-tune on {world.size} "
            "workers; each needs two"
        )
    if world.device.type == "cpu":
        keep_freed_memory()
    run = FineTuneRun(encoder, config, videos, world, checkpoints, reporter, signals or Signals())
    run.limit_minutes(checkpoint_every_minutes, clock)
    with closing(run):
        run.resume()
        while not run.finished:
            run.train_epoch()
        run.flush()
        return run.measured(videos)


class FineTuneRun:
    """One fine-tuning on one worker: the steps of the loop in `fine_tune`."""

    def __init__(
        self,
        encoder: nn.Module,
        config: EvaluatedConfig,
        videos: EvaluationVideos,
        world: World,
        checkpoints: CheckpointFolder,
        reporter: Reporter,
        signals: Signals,
    ) -> None:
        self._world = world
        self._checkpoints = checkpoints
        self._reporter = reporter
        self._signals = signals
        self._facts = facts_of(encoder, config, videos)
        self._tuning = FineTuning(encoder, config, videos, world)
        self._writer = CheckpointWriter(checkpoints, world)
        self._epoch = 0
        self._heard_notice = False
        self._goes_away = False
        self._save_is_due = False
        self._is_cheap = False
        self._saved_at_step = 0
        self.limit_minutes(CHECKPOINT_MINUTES, time.perf_counter)

    def limit_minutes(self, minutes: float, clock: Callable[[], float]) -> None:
        """Write a checkpoint when the newest one is so old; 0: only after epochs."""
        self._minutes = minutes
        self._clock = clock
        self._last_save = clock()

    def close(self) -> None:
        """End the threads."""
        self._writer.close()

    @property
    def finished(self) -> bool:
        """Whether the last epoch is over."""
        return self._epoch >= self._tuning.config.num_epochs

    def resume(self) -> None:
        """Continue from the newest checkpoint, if there is one."""
        checkpoint = self._checkpoints.latest_committed(self._world)
        if checkpoint is None:
            return
        check_same_tuning(checkpoint.facts, self._facts, self._checkpoints.uri)
        own_name = f"rank-{self._world.rank}.pt"

        def read() -> tuple[dict[str, Any], dict[str, Any] | None]:
            names = [name for name in ("common.pt", own_name) if checkpoint.part(name)]
            states = [from_bytes(self._checkpoints.read(checkpoint, name)) for name in names]
            return states[0], states[1] if len(states) > 1 else None

        common, own = together(self._world, "reading a checkpoint", read)
        self._epoch = int(common["num_epochs"])
        if self._epoch > self._tuning.config.num_epochs:
            raise UserError(
                f"{self._checkpoints.uri} holds {self._epoch} epochs of fine-tuning and "
                f"evaluation.recognition.num_epochs is {self._tuning.config.num_epochs}; give this "
                "fine-tuning a folder of its own"
            )
        self._tuning.load_state(common["tuning"], own)
        said = checkpoint.facts.get("unconfirmed_points", [])
        self._saved_at_step = self._tuning.num_steps
        points = [(int(step), dict(values)) for step, values in said]
        first_alone(self._world, "logging points again", lambda: self._reporter.log_again(points))

    def train_epoch(self) -> None:
        """Train the rest of the epoch and log its means."""
        tuning = self._tuning
        tuning.begin_epoch(self._epoch)
        with closing(tuning.batches(self._epoch)) as batches:
            for size in tuning.sizes_left():
                packed, said = together_asking(
                    self._world, "reading videos", lambda: next(batches), self._asks()
                )
                self._writer.listen(said)
                self._signals.watchdog.step()
                tuning.step(packed, size)
                self._writer.allocate(self._trees)
                self._save_is_due = self._save_is_due or "save" in said
                self._is_cheap = "cheap" in said
                self._goes_away = "notice" in said
                if tuning.sizes_left():  # else the epoch's end belongs into the checkpoint
                    self._save_if_due(is_urgent=self._goes_away)
                self._signals.watchdog.outer("reading videos, or waiting for a worker that does")
        metrics = tuning.end_epoch()
        self._epoch += 1
        self._log(metrics)
        self._save_is_due = self._save_is_due or self._is_cheap
        self._save_if_due(is_urgent=self.finished or self._goes_away)

    def measured(self, videos: EvaluationVideos) -> FineTuned:
        """The tuned network and its accuracy on the queries, which is logged."""
        self._signals.watchdog.pause()
        replaced = self._world.sum({"replaced": float(self._tuning.num_replaced)})["replaced"]
        metrics = {
            **self._tuning.evaluate(videos.queries),
            "recognition/num_replaced": replaced,
        }
        self._log(metrics)
        return FineTuned(self._tuning.network, self._tuning.labels, metrics)

    def flush(self) -> None:
        """Wait until the checkpoint under way is committed."""
        self._signals.watchdog.outer("writing a checkpoint")
        self._writer.flush()

    def _asks(self) -> dict[str, bool]:
        since = self._clock() - self._last_save
        is_first = self._world.is_first
        notice = not self._heard_notice and self._signals.is_preempted()
        self._heard_notice = self._heard_notice or notice
        return {
            "notice": notice,
            "save": is_first and 0 < 60 * self._minutes <= since,
            "cheap": is_first and self._writer.is_cheap_after(since),
            **self._writer.says(),
        }

    def _save_if_due(self, *, is_urgent: bool) -> None:
        """Begin a checkpoint that is due, unless the one before is being written; an urgent one is
        waited for.
        """
        if is_urgent:
            self.flush()
        if is_urgent or (self._save_is_due and self._writer.is_idle):
            self._save()
        if is_urgent:
            self.flush()

    def _save(self) -> None:
        self._save_is_due = False
        self._last_save = self._clock()
        if self._saved_at_step == self._tuning.num_steps:
            return
        points = self._reporter.unconfirmed() if self._world.is_first else []
        copied = self._writer.copies(self._trees())
        self._writer.start(
            self._tuning.num_steps,
            lambda: {name: to_bytes(tree) for name, tree in copied.items()},
            {**self._facts, "num_epochs": self._epoch, "unconfirmed_points": points},
        )
        self._saved_at_step = self._tuning.num_steps

    def _trees(self) -> dict[str, dict[str, Any]]:
        trees: dict[str, dict[str, Any]] = {f"rank-{self._world.rank}.pt": self._tuning.own_state()}
        if self._world.is_first:
            trees["common.pt"] = {"tuning": self._tuning.state(), "num_epochs": self._epoch}
        return trees

    def _log(self, metrics: Mapping[str, float]) -> None:
        step = self._tuning.num_steps
        is_first = self._world.is_first
        together(
            self._world,
            "logging",
            lambda: self._reporter.log(metrics, step=step) if is_first else None,
        )


def facts_of(
    encoder: nn.Module, config: EvaluatedConfig, videos: EvaluationVideos
) -> dict[str, Any]:
    """What decides what a fine-tuning learns, but for its number of epochs, as plain values."""
    assert config.evaluation.recognition is not None
    weights = hashlib.sha256()
    for name, tensor in encoder.state_dict().items():
        weights.update(name.encode())
        weights.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    labels = hashlib.sha256("\n".join(str(one.label) for one in videos.gallery).encode())
    tree = {
        "encoder": {"name": config.encoder.name, "weights": weights.hexdigest()[:16]},
        "clip": asdict(config.clip),
        "evaluation": {
            "recognition": asdict(config.evaluation.recognition),
            "views": {"clip_length": config.evaluation.views.clip_length},
        },
        "seed": config.seed,
        "the training videos' digest": TrainingPart.of(videos.gallery, 0).videos,
        "their classes' digest": labels.hexdigest()[:16],
    }
    flat = flatten(tree)
    del flat["evaluation.recognition.num_epochs"]
    return {"decides": flat}


def check_same_tuning(then: Mapping[str, Any], now: Mapping[str, Any], uri: str) -> None:
    """Raise `UserError` with the first value in which the checkpoint's fine-tuning differs."""
    before = then.get("decides", {})
    for path, value in now["decides"].items():
        if before.get(path) != value:
            raise UserError(
                f"{uri} holds the checkpoint of another fine-tuning: {path} is {value!r} here and "
                f"{before.get(path)!r} there; give this one a folder of its own, or the same config"
            )
