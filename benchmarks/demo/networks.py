"""Networks trained without Ray, and what they do on videos that they have not seen."""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from orchestrator.config.run_config import RunConfig
from prp_core.data.loader import SpanLoader
from prp_core.data.manifest import Parts, VideoRecord
from prp_core.data.object_store import LocalStore
from prp_core.data.video_source import VideoSource
from prp_core.evaluation.feature_health import feature_health
from prp_core.evaluation.features import FeatureTable, extract_features, in_evaluation_mode
from prp_core.evaluation.retrieval import hits_at_k
from prp_core.pretext.network import PrpNetwork, build_network
from prp_core.pretext.slow_motion import SlowMotionTargets
from prp_core.pretext.targets import build_pretext_batch
from prp_core.reporting import MemoryReporter
from prp_core.training.checkpoint import CheckpointFolder, from_bytes
from prp_core.training.loop import pretrain
from prp_core.training.metrics import RunningMean
from prp_core.training.pretrain_data import PretrainData
from prp_core.world import World, use_threads

ALONE = World.alone()
Find = Callable[[FeatureTable, FeatureTable], list[float]]
"""From gallery and queries to 1.0 or 0.0 for each query."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """For each query 1.0 or 0.0, the effective rank of the gallery's features, and `task_results`
    (of a random initialisation: none).
    """

    hits: list[float]
    rank: float
    results: dict[str, float]


@dataclass(frozen=True)
class Job:
    """A network to be trained, or left as it is initialised, and measured on `queries`."""

    config: RunConfig
    folder: Path
    split: Parts
    queries: Sequence[VideoRecord]
    is_trained: bool


def measure_all(jobs: Sequence[Job], num_processes: int) -> list[Measured]:
    """The results of `jobs`, in their order, `num_processes` at a time."""
    if num_processes == 1:
        return [measure(job) for job in jobs]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_processes, mp_context=context) as pool:
        return list(pool.map(measure, jobs))


def measure(job: Job) -> Measured:
    """Train the network of `job`, if it is to be, and retrieve its queries in its training part."""
    use_threads(1)
    config = job.config
    views = config.evaluation.views
    with VideoSource(LocalStore(job.folder), None, config.loader) as source:
        if job.is_trained:
            network = trained_network(config, source, job.split)
            results = task_results(network, config, source, job.queries)
        else:
            network, results = build_network(config), {}
        gallery, asked = (
            extract_features(network.encoder, records, source, config.clip, views, ALONE)
            for records in (job.split.train, job.queries)
        )
    hits = outside_own_group(gallery, asked, nearest_hits)
    learnt = [*config.pretext.active] if job.is_trained else ["nothing"]
    print(
        f"  seed {config.seed}, {config.training.num_epochs} epochs of {' and '.join(learnt)}: "
        f"recall@1 {sum(hits) / len(hits):.3f}",
        flush=True,
    )
    return Measured(
        hits=hits,
        rank=feature_health(gallery)["feature/effective_rank"],
        results=results,
    )


def nearest_hits(gallery: FeatureTable, queries: FeatureTable) -> list[float]:
    """For each query 1.0 when its nearest gallery video by cosine has its class, else 0.0."""
    return [float(hit) for hit in hits_at_k(gallery, queries, (1,))[1].tolist()]


def outside_own_group(gallery: FeatureTable, queries: FeatureTable, find: Find) -> list[float]:
    """`find` for each query, in a gallery without the videos of its own group.

    Where they share no group all queries are asked at once: a random initialisation's cosines lie
    closer together than float32 rounds, so that a product in pieces has other neighbours.
    """
    if not set(gallery.groups) & set(queries.groups):
        return find(gallery, queries)
    hits = [0.0] * len(queries)
    for group in dict.fromkeys(queries.groups):
        asked = [row for row, of in enumerate(queries.groups) if of == group]
        others = [row for row, of in enumerate(gallery.groups) if of != group]
        found = find(rows_of(gallery, others), rows_of(queries, asked))
        for row, hit in zip(asked, found, strict=True):
            hits[row] = hit
    return hits


def rows_of(table: FeatureTable, rows: Sequence[int]) -> FeatureTable:
    """These rows of `table`, in this order."""
    return replace(
        table,
        features_ND=table.features_ND[list(rows)],
        labels=tuple(table.labels[row] for row in rows),
        keys=tuple(table.keys[row] for row in rows),
        groups=tuple(table.groups[row] for row in rows),
        windows_N2D=None,
    )


def trained_network(config: RunConfig, source: VideoSource, split: Parts) -> PrpNetwork:
    """The network after the last epoch."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = CheckpointFolder(LocalStore(Path(folder)))
        pretrain(
            config,
            PretrainData(source, split),
            ALONE,
            checkpoints=checkpoints,
            reporter=MemoryReporter(),
        )
        checkpoint = checkpoints.latest_committed()
        assert checkpoint is not None
        network = build_network(config)
        network.load_state_dict(
            from_bytes(checkpoints.read(checkpoint, "common.pt"))["learner"]["network"]
        )
        return network


@torch.no_grad()
def task_results(
    network: PrpNetwork, config: RunConfig, source: VideoSource, queries: Sequence[VideoRecord]
) -> dict[str, float]:
    """The accuracies of the pretext tasks, by metric, on a span of each of `queries`.

    With ``reconstruction error``, the mean squared error of the decoder's frames, beside that of
    ``another clip's``, the frames decoded from another clip of the batch (equal: the decoder draws
    one picture, whatever the clip), and of two guesses that know the answer's mean: ``flat colour``
    (one colour for all) and ``mean frame`` (each span's own).
    """
    loader = SpanLoader(
        source,
        queries,
        config.clip,
        config.pretext.span_sampling(config.clip.length),
        batch_size=8,
        seed=config.seed,
        world=ALONE,
    )
    means = RunningMean()
    with in_evaluation_mode(network):
        for spans in loader.batches(epoch=0):
            key = (config.seed, "accuracies")
            batch = build_pretext_batch(spans, config.clip, config.pretext, "cpu", key)
            outputs = network(batch.clip_BCTHW)
            numbers: dict[str, float] = {}
            for name, task in config.pretext.active.items():
                values = task.metrics(outputs[name], batch.targets[name]).tolist()
                numbers.update(zip(task.metric_names, values, strict=True))
                if isinstance(batch.targets[name], SlowMotionTargets):
                    numbers.update(reconstruction_errors(outputs[name], batch.targets[name]))
            means.add(numbers)
    return {
        name: value
        for name, value in means.means().items()
        if name.endswith("_accuracy") or "/" not in name
    }


def reconstruction_errors(
    output_BCTHW: torch.Tensor, targets: SlowMotionTargets
) -> dict[str, float]:
    """See `task_results`; over supervised frames, without attention."""
    frames_BTCHW = targets.target_BCTHW.transpose(1, 2)
    supervised = targets.supervised_BT
    weight_BT = supervised.float()[:, :, None, None, None]
    own_BTCHW = (frames_BTCHW * weight_BT).sum(1, keepdim=True) / weight_BT.sum(1, keepdim=True)
    flat_C = frames_BTCHW[supervised].mean(dim=(0, 2, 3), keepdim=True)
    guesses = {
        "reconstruction error": output_BCTHW.transpose(1, 2),
        "another clip's": output_BCTHW.roll(1, 0).transpose(1, 2),
        "flat colour": flat_C.expand_as(frames_BTCHW),
        "mean frame": own_BTCHW.expand_as(frames_BTCHW),
    }
    return {
        name: (guess - frames_BTCHW)[supervised].square().mean().item()
        for name, guess in guesses.items()
    }
