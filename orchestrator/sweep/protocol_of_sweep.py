"""The protocol hashes of a sweep: one for each kind of figure, on validation and on test part."""

from __future__ import annotations

from orchestrator.config.run_config import RunConfig
from orchestrator.data.pixel_facts import pixel_facts
from prp_core.data.manifest import Parts
from prp_core.evaluation.protocol import Measurement, protocol_hashes


def hashes_of(config: RunConfig, split: Parts, data_uri: str) -> dict[str, str]:
    """The protocol hash of each kind of figure (`protocol_hashes`), those of the test part with
    ``test`` before their name. The videos that are judged on lie under `data_uri`.
    """
    pixels = pixel_facts(data_uri, config, uses_gpu=config.resources.gpus_per_worker > 0)
    ranked_by = config.sweep.objective.partition("/")[0]
    found: dict[str, str] = {}
    known = (*split.gallery, *split.val)
    for part, gallery, queries in (("", split.gallery, split.val), ("test", known, split.test)):
        measurement = Measurement(
            clip=config.clip,
            evaluations=config.evaluation,
            pixels=pixels,
            gallery=gallery,
            queries=queries,
        )
        hashes = protocol_hashes(
            measurement, ranked_by, encoder=config.encoder.name, seed=config.seed
        )
        found |= {".".join(filter(None, (part, name))): one for name, one in hashes.items()}
    return found
