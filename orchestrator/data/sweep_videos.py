"""The videos of a sweep and their parts, by which its driver, its workers and its report agree."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.config.run_config import RunConfig
from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.storage.manifest_file import read_manifest
from prp_core.data.manifest import Manifest, Parts, parts
from prp_core.data.manifest_filter import filtered


@dataclass(frozen=True)
class SweepVideos:
    """`manifest`: the videos that ``source.where`` leaves; `parts`: their division."""

    manifest: Manifest
    parts: Parts


def read_sweep_videos(spec: SweepSpec, config: RunConfig) -> SweepVideos:
    """The videos of the sweep of `spec`, read from its manifest.

    The parts are the sweep's, whatever the seed of `config`: a run that confirms a trial with
    another seed trains and evaluates on the same videos. Raises `UserError`.
    """
    return divided(read_manifest(spec.manifest_uri, config.store), config, spec.seed)


def divided(manifest: Manifest, config: RunConfig, seed: int) -> SweepVideos:
    """The videos of `manifest` that `config` leaves, divided. Raises `UserError`."""
    kept = filtered(manifest, config.source.where)
    return SweepVideos(kept, parts(kept, val_fraction=config.source.val_fraction, seed=seed))
