"""The videos of a sweep and their parts, by which its driver, its workers and its report agree."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.config.run_config import RunConfig
from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.storage.manifest_file import read_manifest
from prp_core.data.manifest import Manifest, Parts, judged_elsewhere, parts
from prp_core.data.manifest_filter import filtered


@dataclass(frozen=True)
class SweepVideos:
    """The videos that ``source.where`` leaves, and the parts of a sweep.

    `judged` are those that encoders are judged on: `manifest` itself, or another corpus, whose
    parts are then validation and test. `num_copies` videos of `manifest` are not trained on
    because they, or others of their group, are copies of what is asked there.
    """

    manifest: Manifest
    parts: Parts
    judged: Manifest
    num_copies: int = 0


def read_sweep_videos(spec: SweepSpec, config: RunConfig) -> SweepVideos:
    """The videos of the sweep of `spec`, read from its manifest.

    The parts are the sweep's, whatever the seed of `config`: a run that confirms a trial with
    another seed trains and evaluates on the same videos. Raises `UserError`.
    """
    manifest = read_manifest(spec.manifest_uri, config.store)
    judged = read_manifest(spec.eval_manifest_uri, config.store) if spec.eval_manifest_uri else None
    return divided(manifest, config, spec.seed, judged)


def divided(
    manifest: Manifest, config: RunConfig, seed: int, judged: Manifest | None = None
) -> SweepVideos:
    """The videos of `manifest` that `config` leaves, divided; encoders are judged on those of
    `judged` where it is given. Raises `UserError`.
    """
    kept = filtered(manifest, config.source.where)
    if judged is None:
        own = parts(kept, val_fraction=config.source.val_fraction, seed=seed)
        return SweepVideos(kept, own, kept)
    asked = filtered(judged, config.eval_source.where, config.eval_source.WHERE)
    other = parts(asked, val_fraction=config.eval_source.val_fraction, seed=seed)
    both = judged_elsewhere(kept, other)
    return SweepVideos(kept, both, asked, len(kept.usable()) - len(both.train))
