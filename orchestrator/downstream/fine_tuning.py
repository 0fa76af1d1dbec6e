"""Fine-tuning of an encoder on labelled videos, with its checkpoints, its files and its curves."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.config.run_config import RunConfig, to_tree
from orchestrator.data.index import num_usable_cpus
from orchestrator.data.open_data import open_source
from orchestrator.downstream.evaluate_splits import Split
from orchestrator.storage.open_store import open_store
from orchestrator.tracking.encoder_file import CARD_NAME, EncoderCard, pack, pack_classifier
from prp_core.data.object_store import LocalStore
from prp_core.reporting import Reporter

if TYPE_CHECKING:
    from prp_core.evaluation.frame_encoder import FrameEncoder

CLASSIFIER_NAME = "classifier.safetensors"
CHECKPOINTS = "checkpoints"


@dataclass(frozen=True)
class Tuned:
    """A fine-tuned encoder: its metrics, the classes that its classifier tells apart, and its files
    by name.
    """

    metrics: Mapping[str, float]
    labels: tuple[str, ...]
    files: Mapping[str, bytes]


def tune(
    encoder: FrameEncoder,
    config: RunConfig,
    split: Split,
    folder: Path,
    reporter: Reporter,
    provenance: Mapping[str, str],
) -> Tuned:
    """Fine-tune a copy of `encoder` on the gallery of `split`, measure it on the queries, and write
    its files into `folder`, the card last.

    Goes on from the newest checkpoint in `folder`. Raises `UserError` where that is of another
    fine-tuning.
    """
    from prp_core.evaluation.downstream import EvaluationVideos
    from prp_core.training.checkpoint import CheckpointFolder
    from prp_core.training.checkpoint_record import next_attempt
    from prp_core.training.fine_tuning import fine_tune
    from prp_core.world import World, best_device, use_threads

    use_threads(num_usable_cpus())
    world = World.alone(best_device())
    place = LocalStore(folder)
    checkpoints = CheckpointFolder(
        place, CHECKPOINTS, num_kept=1, attempt=next_attempt(place, CHECKPOINTS)
    )
    checkpoints.begin(world)
    store = open_store(split.manifest.uri, config.store, check=False)
    with closing(open_source(store, split.manifest, config, world)) as source:
        videos = EvaluationVideos(split.gallery, split.queries, source)
        tuned = fine_tune(
            encoder.encoder, config, videos, world, checkpoints=checkpoints, reporter=reporter
        )
    card = EncoderCard(
        encoder=config.encoder.name,
        config=to_tree(config),
        dataset_hash=split.manifest.content_hash,
        metrics=dict(tuned.metrics),
        provenance=dict(provenance),
    )
    files = {
        CLASSIFIER_NAME: pack_classifier(tuned.network.linear.state_dict(), tuned.labels),
        **pack(tuned.network.encoder.state_dict(), card),
    }
    for name in sorted(files, key=lambda name: name == CARD_NAME):
        place.write(name, files[name])
    return Tuned(tuned.metrics, tuned.labels, files)


def config_of(encoder: FrameEncoder, base: RunConfig) -> RunConfig:
    """`base` with the encoder, the clips and the views of `encoder`."""
    return replace(
        base,
        encoder=replace(base.encoder, name=encoder.card.encoder),
        clip=encoder.clip,
        evaluation=replace(base.evaluation, views=encoder.views),
    )
