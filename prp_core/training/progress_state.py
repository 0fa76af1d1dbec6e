"""The progress of a run, and all that a resume needs to continue it.

Nothing of the data is stored: which samples a step sees is a pure function of (seed, epoch, step).
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from prp_core.agreement import together
from prp_core.data.manifest import VideoRecord
from prp_core.errors import UserError
from prp_core.randomness import seed_everything
from prp_core.reporting import Points
from prp_core.step_numbers import EPOCH, WINDOW, StepNumbers, StepSums
from prp_core.training.checkpoint import Checkpoint, CheckpointFolder, from_bytes, to_bytes
from prp_core.training.checkpoint_writer import CheckpointWriter
from prp_core.training.learner import Learner
from prp_core.training.pretrain_config import PretrainConfig
from prp_core.world import World

log = logging.getLogger(__name__)

FREE_TO_CHANGE = (
    "loader.",
    "training.checkpoint_every_steps",
    "training.checkpoint_every_minutes",
    "training.step_timeout_seconds",
    "training.num_checkpoints_kept",
    "training.log_every_steps",
    "training.recompute",
    "training.profile_steps",
    "evaluation.",
)
FREE_TO_EXTEND = (*FREE_TO_CHANGE, "training.num_epochs")

STEPS = "steps per epoch (the number of training videos)"
VIDEOS = "the training videos' digest"


@dataclass(frozen=True)
class TrainingPart:
    """The videos that a run learns from: the steps of an epoch, and a digest of which they are."""

    steps_per_epoch: int
    videos: str

    @classmethod
    def of(cls, records: Sequence[VideoRecord], steps_per_epoch: int) -> TrainingPart:
        """That of `records`, in their order: their keys, contents and lengths."""
        digest = hashlib.sha256()
        for record in records:
            digest.update(f"{record.key}\n{record.sha256}\n{record.num_frames}\n".encode())
        return cls(steps_per_epoch, digest.hexdigest()[:16])


@dataclass
class Progress:
    """`num_epochs` finished epochs, and `num_steps` finished steps of the next one.

    The sums run over that epoch and since the last log. `quarantined` are the videos that this
    worker found broken, with the reasons: without them a resume would read again what was replaced.
    `unconfirmed` are the points that were logged before and are not known to be kept (on the first
    worker, and after a resume).
    """

    num_epochs: int = 0
    num_steps: int = 0
    saved_at_step: int = -1
    sums: StepSums = field(default_factory=StepSums)
    quarantined: dict[str, str] = field(default_factory=dict)
    unconfirmed: Points = field(default_factory=list)

    def count_step(self, numbers: StepNumbers) -> None:
        """One more step of the epoch, with its numbers."""
        self.num_steps += 1
        self.sums.add(numbers)

    def end_window(self) -> dict[str, float]:
        """The means of ``train/...`` since the last log; waits for the device."""
        means = self.sums.means(WINDOW)
        self.sums.clear(WINDOW)
        return {name: value for name, value in means.items() if name.startswith("train/")}

    def end_epoch(self) -> dict[str, float]:
        """The epoch is over: the next one starts at step 0. Its means; waits for the device."""
        means = self.sums.means(EPOCH)
        self.num_epochs = self.num_epochs + 1
        self.num_steps = 0
        self.sums.clear(EPOCH)
        return means

    def state(self) -> dict[str, Any]:
        """What `load_state` needs."""
        means = {"epoch_mean": self.sums.state(EPOCH), "window_mean": self.sums.state(WINDOW)}
        return {"num_epochs": self.num_epochs, "num_steps": self.num_steps, **means}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue where `state` was taken."""
        self.num_epochs = state["num_epochs"]
        self.num_steps = state["num_steps"]
        self.sums.load_state(EPOCH, state["epoch_mean"])
        self.sums.load_state(WINDOW, state["window_mean"])


def save_progress(
    writer: CheckpointWriter,
    progress: Progress,
    learner: Learner,
    config: PretrainConfig,
    part: TrainingPart,
    world: World,
) -> None:
    """Begin a checkpoint, once for each step: copy the state, which `writer` then writes.

    One that is under way is waited for.
    """
    if progress.saved_at_step == learner.global_step:
        return
    writer.flush()
    state = progress.state()  # on every worker: all raise where a loss was not finite
    trees = learner_trees(learner, world)
    trees[f"rank-{world.rank}.pt"]["quarantined"] = dict(progress.quarantined)
    if world.is_first:
        trees["common.pt"]["progress"] = state
    copied = writer.copies(trees)
    facts = {
        "config": flatten(asdict(config)),
        "steps_per_epoch": part.steps_per_epoch,
        "training_videos": part.videos,
        "num_workers": world.size,
        "clips_per_norm": learner.clips_per_norm,
        "num_epochs": progress.num_epochs,
        "num_steps": progress.num_steps,
        "unconfirmed_points": progress.unconfirmed,
    }
    writer.start(
        learner.global_step,
        lambda: {name: to_bytes(tree) for name, tree in copied.items()},
        facts,
    )
    progress.saved_at_step = learner.global_step


def learner_trees(learner: Learner, world: World) -> dict[str, dict[str, Any]]:
    """The learner's part of this worker's files, by name."""
    trees = {f"rank-{world.rank}.pt": learner.own_state()}
    if world.is_first:
        trees["common.pt"] = {"learner": learner.state()}
    return trees


def resume_progress(
    checkpoints: CheckpointFolder,
    learner: Learner,
    config: PretrainConfig,
    part: TrainingPart,
    world: World,
) -> Progress:
    """The progress of the newest committed checkpoint, with `learner` brought to it.

    Where there is none, that of the run which this one continues, under the learning-rate schedule
    of `config`; the very start where there is no such run. With as many workers as before the run
    continues bit for bit (where the device's kernels are deterministic). A worker that had no
    predecessor takes the first one's running statistics. Raises `UserError` when the checkpoint was
    written under another config, and when the run that this one continues has none.
    """
    progress = Progress()
    seed_everything(config.seed, "train", world.rank)
    found = _newest(checkpoints, config, part, world)
    if found is None:
        return progress
    folder, checkpoint = found
    common, own = together(
        world, "reading a checkpoint", lambda: _read_states(folder, checkpoint, world.rank)
    )
    learner.load_state(common["learner"])
    if own is not None:
        learner.load_own_state(own)
        progress.quarantined = dict(own.get("quarantined", {}))
    progress.load_state(common["progress"])
    progress.saved_at_step = learner.global_step
    if folder is not checkpoints:  # its points are those of another run
        return progress
    points = checkpoint.facts.get("unconfirmed_points", [])
    progress.unconfirmed = [(int(step), dict(metrics)) for step, metrics in points]
    return progress


def _newest(
    checkpoints: CheckpointFolder, config: PretrainConfig, part: TrainingPart, world: World
) -> tuple[CheckpointFolder, Checkpoint] | None:
    """The checkpoint to start from and its folder; None: the run starts anew."""
    checkpoint = checkpoints.latest_committed(world)
    if checkpoint is not None:
        check_same_run(checkpoint, config, part, checkpoints.uri)
        return checkpoints, checkpoint
    earlier = checkpoints.continues
    if earlier is None:
        return None
    checkpoint = earlier.latest_committed(world)
    if checkpoint is None:
        raise UserError(f"{earlier.uri} holds no checkpoint to go on from")
    check_same_run(checkpoint, config, part, earlier.uri, free=FREE_TO_EXTEND)
    return earlier, checkpoint


def _read_states(
    checkpoints: CheckpointFolder, checkpoint: Checkpoint, rank: int
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    own_name = f"rank-{rank}.pt"
    own = from_bytes(checkpoints.read(checkpoint, own_name)) if checkpoint.part(own_name) else None
    return from_bytes(checkpoints.read(checkpoint, "common.pt")), own


def check_same_run(
    checkpoint: Checkpoint,
    config: PretrainConfig,
    part: TrainingPart,
    uri: str,
    *,
    free: tuple[str, ...] = FREE_TO_CHANGE,
) -> None:
    """Raise `UserError` with the first value in which the checkpoint's run differs from this one.

    Only values that decide what is learnt count, and not those whose paths begin as one of `free`.
    """
    facts = checkpoint.facts
    now = {**flatten(asdict(config)), STEPS: part.steps_per_epoch, VIDEOS: part.videos}
    then = {
        **flatten(asdict(PretrainConfig())),  # what the release that wrote it did not have yet
        **facts["config"],
        STEPS: facts["steps_per_epoch"],
        VIDEOS: facts.get("training_videos", part.videos),
    }
    learning = {
        entry.name for entry in fields(PretrainConfig)
    }  # where a run takes place, and what its sweep may spend, may change
    for path in sorted(now.keys() | then.keys()):
        decides = path.partition(".")[0] in learning or path in (STEPS, VIDEOS)
        if decides and not path.startswith(free) and now.get(path) != then.get(path):
            raise UserError(
                f"{uri} holds the checkpoint of another run: {path} is "
                f"{now.get(path)!r} here and {then.get(path)!r} there; "
                "give this run a folder of its own, or the same config"
            )

    for path in ("loader.reader", "loader.colour"):
        if now[path] != then[path]:
            log.warning(
                "%s was %r until this checkpoint and is %r from here on: frames may differ by a "
                "few grey levels, so the run is not the one that was interrupted bit for bit",
                path,
                then[path],
                now[path],
            )


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A tree of dicts as ``{"a.b": value}``, the values as JSON has them."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = json.loads(json.dumps(value))
    return flat
