"""The pretraining loop, from the first step to the last."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import cast

from prp_core.agreement import first_alone, together, together_asking
from prp_core.data.device_feed import DeviceFeed
from prp_core.data.loader import SpanLoader
from prp_core.data.spans import SpanBatch
from prp_core.evaluation.downstream import Measured, measure_encoder
from prp_core.pretext.targets import PackedBatch, assemble_batch, pack_batch
from prp_core.reporting import AsyncEvaluator, Reporter
from prp_core.training.checkpoint import CheckpointFolder
from prp_core.training.checkpoint_writer import CheckpointWriter
from prp_core.training.data_health import EpochHealth, wait_share
from prp_core.training.encoder_export import encoder_weights, load_encoder_weights
from prp_core.training.held_out import held_out_checks
from prp_core.training.learner import Learner
from prp_core.training.metrics import RunningMean, renamed
from prp_core.training.pretrain_config import PretrainConfig
from prp_core.training.pretrain_data import PretrainData
from prp_core.training.profiling import StepProfiler
from prp_core.training.progress_state import (
    Progress,
    TrainingPart,
    learner_trees,
    resume_progress,
    save_progress,
)
from prp_core.training.watchdog import Signals
from prp_core.world import World


@dataclass(frozen=True)
class PretrainOutcome:
    """The end of a run after `last_epoch` finished epochs.

    `metrics` are those of its last evaluation; empty where rungs are evaluated elsewhere.
    """

    last_epoch: int
    stopped_early: bool
    metrics: Mapping[str, float]


def pretrain(
    config: PretrainConfig,
    data: PretrainData,
    world: World,
    *,
    checkpoints: CheckpointFolder,
    reporter: Reporter,
    evaluator: AsyncEvaluator | None = None,
    signals: Signals | None = None,
    hits_of: str = "",
    clock: Callable[[], float] = time.perf_counter,
) -> PretrainOutcome:
    """Train to the last epoch, or to the rung at which `reporter` says stop.

    Every worker of `world` calls it, and all leave together. A run continues from its newest
    checkpoint, at the very step. A rung is evaluated and reported again when its checkpoint is the
    newest, so that a pruning decision that was lost with its worker still arrives. With
    `evaluator` nothing is evaluated here: a rung's weights are submitted, training continues, and
    the workers leave together at the first log window or epoch's end at which it says stop. When
    the machine of any worker is announced to go away (`signals`), all commit a checkpoint after
    the step that they are in, once; when the first worker is told to leave, all leave after that
    step. `hits_of` is the metric of which a rung also reports each query's hit. Raises `UserError`
    for data that cannot be trained on, `DivergedError` for a loss that is not finite.
    """
    run = PretrainRun(
        config, data, world, checkpoints, reporter, evaluator, signals or Signals(), hits_of, clock
    )
    with closing(run):
        while True:
            if run.at_rung:
                measured = run.evaluate() if evaluator is None else Measured()
                go_on = (
                    run.report_rung(measured) if evaluator is None else run.submit_rung(evaluator)
                )
                if run.finished or not go_on:
                    return run.outcome(measured.metrics, stopped_early=not run.finished)
            if not run.train_epoch():
                return run.outcome({}, stopped_early=True)


class PretrainRun:
    """One run on one worker: the steps of the loop in `pretrain`."""

    def __init__(
        self,
        config: PretrainConfig,
        data: PretrainData,
        world: World,
        checkpoints: CheckpointFolder,
        reporter: Reporter,
        evaluator: AsyncEvaluator | None,
        signals: Signals,
        hits_of: str,
        clock: Callable[[], float],
    ) -> None:
        data.validation.check(config.evaluation)
        self._config = config
        self._data = data
        self._world = world
        self._checkpoints = checkpoints
        self._writer = CheckpointWriter(checkpoints, world)
        self._reporter = reporter
        self._evaluator = evaluator
        self._signals = signals
        self._hits_of = hits_of
        self._watchdog = signals.watchdog
        self._clock = clock
        self._last_save = clock()
        self._save_is_due = False
        self._is_cheap = False
        self._heard_notice = False
        self._goes_away = False
        self._leaves = False
        self._loader = build_loader(config, data, world)
        self._feed: DeviceFeed[SpanBatch] = DeviceFeed(self._pack, world.device)
        self._learner = Learner(config, world, self._loader.steps_per_epoch)
        if data.initial_encoder is not None:
            weights = together(world, "reading the initial encoder", data.initial_encoder)
            load_encoder_weights(self._learner.network.encoder, config.encoder.name, weights)
        self._profiler = StepProfiler(config.training.profile_steps, world.device)
        self._times = RunningMean()
        self._health = EpochHealth(data.source, self._loader, world)
        self._part = TrainingPart.of(data.parts.train, self._loader.steps_per_epoch)
        self.progress: Progress = resume_progress(
            checkpoints, self._learner, config, self._part, world
        )
        self._loader.quarantine_again(self.progress.quarantined)
        if points := self.progress.unconfirmed:
            first_alone(world, "logging points again", lambda: reporter.log_again(points))

    def close(self) -> None:
        """End the threads that read and copy batches and write checkpoints."""
        self._feed.close()
        self._loader.close()
        self._writer.close()

    def outcome(self, metrics: Mapping[str, float], *, stopped_early: bool) -> PretrainOutcome:
        """The end of the run, once its checkpoint has been committed, of a rung the rung's own."""
        if self._save_is_due and self.at_rung:
            self._save()
        self._flush()
        return PretrainOutcome(self.progress.num_epochs, stopped_early, metrics)

    def _pack(self, spans: SpanBatch) -> PackedBatch:
        config = self._config
        key = (config.seed, "transform")
        return pack_batch(spans, config.clip, config.pretext, self._world.device, key)

    @property
    def at_rung(self) -> bool:
        """Whether the finished epochs are those of a rung, and no step was taken since."""
        return (
            self.progress.num_epochs in self._config.training.rungs and self.progress.num_steps == 0
        )

    @property
    def _epoch_is_over(self) -> bool:
        return self.progress.num_steps == self._loader.steps_per_epoch

    @property
    def finished(self) -> bool:
        """Whether the last epoch is over."""
        return self.progress.num_epochs >= self._config.training.num_epochs

    def train_epoch(self) -> bool:
        """Train the rest of the epoch; a rung's end is saved.

        False: the asynchronous evaluator or a signal said stop, and every worker is at the same
        step.
        """
        with closing(self._timed_batches()) as batches:
            for packed in batches:
                self._train_step(packed)
                if self._leaves or self._should_stop():
                    self._watchdog.pause()
                    return False
        self._end_epoch()
        self._watchdog.pause()
        return True

    def evaluate(self) -> Measured:
        """The evaluations of features: validation part against training part.

        After the last epoch those as well that do not run at every rung.
        """
        started = self._clock()
        self._learner.share_buffers()
        measured = measure_encoder(
            self._learner.network.encoder,
            self._config,
            self._data.validation,
            self._world,
            is_final=self.finished,
            hits_of=self._hits_of,
        )
        self._log({**measured.metrics, "time/evaluation_seconds": self._clock() - started})
        return measured

    def report_rung(self, measured: Measured) -> bool:
        """Whether the run goes on, from the reporter; the same on every worker.

        The rung's checkpoint is committed, so that the question is asked again if the answer is
        lost; the evaluation took longer than writing it.
        """
        self._flush()
        self._watchdog.pause()
        epoch = self.progress.num_epochs
        step = self._learner.global_step
        return first_alone(
            self._world,
            f"reporting rung {epoch}",
            lambda: self._reporter.at_rung(
                epoch=epoch, step=step, metrics=measured.metrics, hits=measured.hits
            ),
        )

    def submit_rung(self, evaluator: AsyncEvaluator) -> bool:
        """Submit the rung's weights to the asynchronous evaluator, on the first worker."""
        self._watchdog.pause()
        epoch = self.progress.num_epochs
        step = self._learner.global_step
        weights = encoder_weights(self._learner.network) if self._world.is_first else {}
        first_alone(
            self._world,
            f"submitting rung {epoch}",
            lambda: evaluator.submit_rung(epoch=epoch, step=step, weights=weights),
        )
        return True

    def _should_stop(self) -> bool:
        """Whether the evaluator says stop, the same on every worker.

        Asked at each log window and at an epoch's end.
        """
        at_window = self._learner.global_step % self._config.training.log_every_steps == 0
        if self._evaluator is None or not (at_window or self._epoch_is_over):
            return False
        return first_alone(self._world, "asking whether to stop", self._evaluator.should_stop)

    def _timed_batches(self) -> Generator[PackedBatch, None, None]:
        """The rest of the epoch's batches on the device, each once every worker has its share.

        Waiting and computing are timed. On a GPU computing ends with the next log window, and
        waiting is at most what is said: the device may still compute.
        """
        spans = self._loader.batches(self.progress.num_epochs, self.progress.num_steps)
        # Their threads' work ends here, not with the garbage collection: the feed's first.
        with (
            closing(cast("Generator[SpanBatch, None, None]", spans)) as ahead,
            closing(self._feed.batches(ahead)) as batches,
        ):
            started = self._clock()
            for _ in range(self.progress.num_steps, self._loader.steps_per_epoch):
                packed = self._next_batch(batches)
                waited = self._clock()
                yield packed
                computed = self._clock()
                times = {
                    "time/data_wait_seconds": waited - started,
                    "time/compute_seconds": computed - waited,
                }
                self._times.add(times)
                self._health.add(times)
                started = computed

    def _next_batch(self, batches: Generator[PackedBatch, None, None]) -> PackedBatch:
        """The next batch, once every worker has its own. With it travels what follows the step: a
        checkpoint, by the first worker's clock or because any worker's machine goes away; the end
        of the run, because the first worker was told so.
        """
        minutes = self._config.training.checkpoint_every_minutes
        since = self._clock() - self._last_save
        is_first = self._world.is_first
        notice = not self._heard_notice and self._signals.is_preempted()
        self._heard_notice = self._heard_notice or notice
        self._watchdog.outer("reading videos, or waiting for a worker that does")
        packed, asked = together_asking(
            self._world,
            "reading videos",
            lambda: next(batches),
            {
                "notice": notice,
                "save": is_first and 0 < 60 * minutes <= since,
                "cheap": is_first and self._writer.is_cheap_after(since),
                "leave": is_first and self._signals.should_leave(),
                **self._writer.says(),
            },
        )
        self._writer.listen(asked)
        self._goes_away = "notice" in asked
        self._save_is_due = self._save_is_due or "save" in asked
        self._is_cheap = "cheap" in asked
        self._leaves = "leave" in asked
        self._watchdog.step()
        return packed

    def _train_step(self, packed: PackedBatch) -> None:
        config = self._config
        batch = assemble_batch(packed, config.clip, config.pretext)
        self.progress.count_step(self._learner.step(batch))
        self._writer.allocate(lambda: learner_trees(self._learner, self._world))
        if files := self._profiler.step():
            self._watchdog.outer("writing a profile")
            self._checkpoints.attach(files, self._world)
        step = self._learner.global_step
        if step % config.training.log_every_steps == 0:
            self._log_window()
        every = config.training.checkpoint_every_steps
        self._save_is_due = self._save_is_due or bool(every and step % every == 0)
        if not self._epoch_is_over:  # else its end belongs into the checkpoint
            self._save_if_due()

    def _end_epoch(self) -> None:
        means = self.progress.end_epoch()
        self._learner.schedule.end_epoch(means["train/loss"])
        metrics = renamed(means, "train/", "epoch/")
        for task in self._config.pretext.active.values():
            metrics.update(task.epoch_metrics(means))
        if self.finished:
            network = self._learner.network
            metrics.update(held_out_checks(network, self._config, self._data, self._world))
        self._log({**metrics, **self._health.end_epoch()})
        every = self._config.training.checkpoint_every_steps
        is_wanted = self._learner.global_step % every == 0 if every else self._is_cheap
        self._save_is_due = self._save_is_due or self.at_rung or is_wanted
        self._save_if_due()

    def _save_if_due(self) -> None:
        """Begin a checkpoint that is due, or wait with it while the one before is being written.

        When a machine goes away it is committed now, and likewise before a rung's evaluation here.
        """
        if self._goes_away:
            self._save()
            self._flush()
        elif self._save_is_due and (
            self._writer.is_idle or (self.at_rung and self._evaluator is None)
        ):
            self._save()

    def _flush(self) -> None:
        self._watchdog.outer("writing a checkpoint")
        self._writer.flush()

    def _save(self) -> None:
        self._watchdog.outer("copying a checkpoint")
        self.progress.unconfirmed = self._reporter.unconfirmed() if self._world.is_first else []
        self.progress.quarantined = dict(self._loader.quarantined)
        state = self._writer, self.progress, self._learner
        save_progress(*state, self._config, self._part, self._world)
        self._last_save = self._clock()
        self._save_is_due = False

    def _log_window(self) -> None:
        means = self.progress.end_window()
        times = self._world.mean(self._times.means())
        if times:
            times["time/data_wait_share"] = wait_share(times)
        self._log(
            {
                **means,
                "train/learning_rate": self._learner.learning_rate,
                **times,
            }
        )
        self._times.clear()

    def _log(self, metrics: Mapping[str, float]) -> None:
        step = self._learner.global_step
        is_first = self._world.is_first
        self._watchdog.outer("logging")
        together(
            self._world,
            "logging",
            lambda: self._reporter.log(metrics, step=step) if is_first else None,
        )


def build_loader(config: PretrainConfig, data: PretrainData, world: World) -> SpanLoader:
    """The loader of a run's training part; its batches depend on the config's seed alone."""
    return SpanLoader(
        source=data.source,
        records=data.parts.train,
        clip=config.clip,
        sampling=config.pretext.span_sampling(config.clip.length),
        batch_size=config.training.batch_size,
        seed=config.seed,
        world=world,
    )
