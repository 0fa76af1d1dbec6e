"""The final evaluation's tasks, as nodes run them: baselines, encoder, recognition and so on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.config.run_config import RunConfig, parse_config, to_tree
from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.confirmation import ConfirmedRun
from orchestrator.coordinator.run_starts import confirm_config
from orchestrator.data.open_data import open_data
from orchestrator.journal.sweep_folder import encoder_key
from orchestrator.storage.open_store import open_store
from orchestrator.sweep.confirm_worker import marks_of
from orchestrator.tracking.encoder_file import EncoderCard, pack
from orchestrator.trial.worker import checkpoint_folder
from prp_core.errors import UserError
from prp_core.evaluation.baselines import ENCODER, evaluate_baselines, hits_beside_baselines
from prp_core.evaluation.downstream import evaluate_encoder, time_panel
from prp_core.reporting import MemoryReporter, Points
from prp_core.training.checkpoint import Checkpoint, CheckpointFolder
from prp_core.training.checkpoint_record import next_attempt
from prp_core.training.encoder_export import checkpoint_encoder_weights, rebuild_encoder
from prp_core.training.fine_tuning import fine_tune
from prp_core.world import World, best_device, use_threads


def baselines(spec: SweepSpec) -> dict[str, float]:
    """Metrics of random initialisation and of pixels alone on the sweep's own parts."""
    config = parse_config(spec.config)
    use_threads(int(config.resources.cpus_per_worker))
    world = World.alone(best_device())
    with open_data(spec, config, world) as data:
        metrics = evaluate_baselines(config, data.validation, world, is_final=True)
    return {f"baseline/{name}": value for name, value in metrics.items()}


def export(spec: SweepSpec, number: int, tree: Mapping[str, Any]) -> None:
    """Write trial `number`'s encoder and its card into the sweep's folder, under `encoder_key`."""
    config = parse_config(tree)
    card = EncoderCard(
        encoder=config.encoder.name,
        config=to_tree(config),
        dataset_hash=spec.tags["prp.dataset_hash"],
        protocol_hash=spec.tags["prp.protocol_hash"],
        provenance=spec.tags,
    )
    store = open_store(spec.folder_uri, config.store, check=False)
    for name, data in pack(trial_weights(spec, config, number), card).items():
        store.write(f"{encoder_key(number)}/{name}", data)


def recognition(
    spec: SweepSpec, number: int, tree: Mapping[str, Any]
) -> tuple[dict[str, float], Points]:
    """Metrics of trial `number`'s encoder after fine-tuning, and its curves.

    It goes on from its newest checkpoint, where an earlier task was lost.
    """
    config = parse_config(tree)
    use_threads(int(config.resources.cpus_per_worker))
    world = World.alone(best_device())
    with open_data(spec, config, world) as data:
        encoder = rebuild_encoder(config.encoder.name, trial_weights(spec, config, number))
        reporter = CurveReporter()
        tuned = fine_tune(
            encoder,
            config,
            data.validation,
            world,
            checkpoints=fine_tuning_checkpoints(spec, config, number, "val"),
            reporter=reporter,
        )
    curve = [point for point in reporter.logged if "recognition/train_loss" in point[1]]
    return dict(tuned.metrics), curve


def panel_of_time(spec: SweepSpec, number: int, tree: Mapping[str, Any]) -> dict[str, float]:
    """The time panel of trial `number`'s encoder on the validation part."""
    config = parse_config(tree)
    use_threads(int(config.resources.cpus_per_worker))
    world = World.alone(best_device())
    encoder = rebuild_encoder(config.encoder.name, trial_weights(spec, config, number))
    with open_data(spec, config, world) as data:
        return time_panel(encoder.to(world.device), config, data.validation, world)


def test_part(spec: SweepSpec, number: int, tree: Mapping[str, Any]) -> dict[str, float]:
    """The published protocol: queries of the test part, gallery and fine-tuning on all the rest."""
    config = parse_config(tree)
    use_threads(int(config.resources.cpus_per_worker))
    encoder = rebuild_encoder(config.encoder.name, trial_weights(spec, config, number))
    world = World.alone(best_device())
    encoder = encoder.to(world.device)
    with open_data(spec, config) as data:
        videos = data.test
        metrics = evaluate_encoder(encoder, config, videos, world, is_final=True)
        untrained = evaluate_baselines(config, videos, world, is_final=True)
        metrics.update({f"baseline/{name}": value for name, value in untrained.items()})
        if config.evaluation.recognition is not None:
            folder = fine_tuning_checkpoints(spec, config, number, "test")
            tuned = fine_tune(
                encoder, config, videos, world, checkpoints=folder, reporter=MemoryReporter()
            )
            metrics.update(tuned.metrics)
    return {f"test/{name}": value for name, value in metrics.items()}


class CurveReporter(MemoryReporter):
    """Keeps a curve whose points no tracker has yet: each checkpoint carries all of them."""

    def unconfirmed(self) -> Points:
        """All points so far."""
        return list(self.logged)


def fine_tuning_checkpoints(
    spec: SweepSpec, config: RunConfig, number: int, part: str
) -> CheckpointFolder:
    """The checkpoints of trial `number`'s encoder that is fine-tuned and measured on `part`, for
    the newest attempt.
    """
    store = open_store(spec.folder_uri, config.store, check=False)
    prefix = spec.fine_tuning_folder(number, part)
    folder = CheckpointFolder(store, prefix, num_kept=1, attempt=next_attempt(store, prefix))
    folder.begin(World.alone())
    return folder


def test_hits(
    spec: SweepSpec, number: int, tree: Mapping[str, Any], seeds: Sequence[int]
) -> list[ConfirmedRun]:
    """What each test query retrieved with the encoder of each confirming run of trial `number`, and
    with its baselines. One run after the other, so that memory holds the features of one.
    """
    config = parse_config(tree)
    use_threads(int(config.resources.cpus_per_worker))
    world = World.alone(best_device())
    found = []
    with open_data(spec, config) as data:
        for seed in seeds:
            of_seed = confirm_config(config, seed)
            weights = confirming_weights(spec, of_seed, number, seed)
            encoder = rebuild_encoder(config.encoder.name, weights).to(world.device)
            hits = hits_beside_baselines(
                encoder, of_seed, data.test, world, is_label_free=config.sweep.is_label_free
            )
            marks = marks_of(hits, data.parts.test)
            trained = marks.pop(ENCODER)
            recall = sum(hits[ENCODER].values()) / len(hits[ENCODER])
            run = ConfirmedRun(
                trial=number, seed=seed, recall_at_1=recall, hits=trained, baselines=marks
            )
            found.append(run)
    return found


def confirming_weights(
    spec: SweepSpec, config: RunConfig, number: int, seed: int
) -> dict[str, Any]:
    """The encoder's weights of the run that confirmed trial `number` with `seed`. Raises
    `UserError` without its checkpoint.
    """
    store = open_store(spec.folder_uri, config.store, check=False)
    folder = CheckpointFolder(store, f"{spec.confirm_folder(number, seed)}/checkpoints", num_kept=1)
    checkpoint = folder.latest_committed()
    if checkpoint is None:
        raise UserError(f"The run that confirms trial {number} has no checkpoint: {folder.uri}")
    return checkpoint_encoder_weights(folder, checkpoint)


def trial_weights(spec: SweepSpec, config: RunConfig, number: int) -> dict[str, Any]:
    """The encoder's weights in the newest checkpoint. Raises `UserError` when there is none."""
    return checkpoint_encoder_weights(*newest_checkpoint(spec, config, number))


def newest_checkpoint(
    spec: SweepSpec, config: RunConfig, number: int
) -> tuple[CheckpointFolder, Checkpoint]:
    """The folder of trial `number` and its newest checkpoint. Raises `UserError` without one."""
    folder = checkpoint_folder(spec, config, number)
    checkpoint = folder.latest_committed()
    if checkpoint is None:
        raise UserError(
            f"Trial {number} has no checkpoint under {folder.uri}; was the folder emptied?"
        )
    return folder, checkpoint
