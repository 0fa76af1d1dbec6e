"""The plan of a sweep: all that is decided and checked before a cluster is started."""

from __future__ import annotations

import argparse
import dataclasses
import secrets
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from orchestrator.config.run_config import RunConfig, digest, flatten, to_tree, with_values
from orchestrator.config.sweep_spec import STUDY_TAG, SweepSpec, home_dir, sweep_name_of
from orchestrator.cost.pricing import price_list_of
from orchestrator.data.sweep_videos import divided
from orchestrator.journal.stored_sweep import has_journal, load_sweep
from orchestrator.search.database import open_database
from orchestrator.search.pruner import PRUNERS
from orchestrator.search.query_hits import NO_QUERIES, Queries
from orchestrator.search.samplers import SAMPLERS, name_of
from orchestrator.search.samplers.design import first_fit
from orchestrator.search.space import Fit, Space, TrialLimits, apply_space
from orchestrator.search.space_record import record_space
from orchestrator.search.warm_start import NOTHING_KNOWN, WarmStart, plan_warm_start
from orchestrator.storage.manifest_file import read_manifest
from orchestrator.sweep.claim import Claim
from orchestrator.sweep.corpus import check_region_of, check_sources, find_corpus
from orchestrator.sweep.corpus_check import check_parts, other_judges_named, where_lines
from orchestrator.sweep.label_free_config import without_labels
from orchestrator.sweep.protocol_of_sweep import hashes_of
from orchestrator.sweep.settings import default_mlflow, is_set, kept_options
from orchestrator.tracking.mlflow_client import TrackerUnavailable
from orchestrator.tracking.past_trials import read_past_trials
from orchestrator.tracking.provenance import provenance_tags, source_tags
from orchestrator.tracking.start_check import check_tracking
from orchestrator.tracking.tags import (
    EVAL_DATA_TAG,
    EVAL_DATASET_TAG,
    EVAL_MANIFEST_TAG,
    EVAL_VIDEOS_TAG,
    KEY_TAG,
    OBJECTIVE_TAG,
    VIDEOS_TAG,
    protocol_tag,
)
from orchestrator.tracking.tracking_uri import default_tracking_uri
from prp_core.catalogue import look_up, unknown
from prp_core.data.feasibility import check_feasible
from prp_core.data.manifest import Manifest, Parts
from prp_core.errors import UserError

if TYPE_CHECKING:
    from orchestrator.search.samplers import GivenSampler

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A sweep that can run, checked as a whole.

    `space` is searched over the base `config`, on the `parts` of `manifest`, by `sampler` (None:
    the one that ``sweep.sampler`` names). Encoders are judged on videos of `judged`: `manifest`
    itself, or another corpus.
    """

    spec: SweepSpec
    space: Space
    sampler: GivenSampler | None = None
    config: RunConfig
    manifest: Manifest
    judged: Manifest
    parts: Parts
    is_resumed: bool

    @cached_property
    def limits(self) -> TrialLimits:
        """What every trial has to fit: the training videos, and a worker's memory where known."""
        memory = {}
        if self.config.resources.worker_memory_gib:
            from prp_core.training.memory import memory_table  # torch, which few drivers need

            memory = memory_table()
        return TrialLimits(tuple(record.num_frames for record in self.parts.train), memory)

    @property
    def queries(self) -> Queries:
        """The queries of the validation part, where the pruner compares trials by them."""
        if not PRUNERS[self.config.sweep.pruner].compares_queries:
            return NO_QUERIES
        return Queries({record.key: record.group or record.key for record in self.parts.val})


def make_plan(
    claim: Claim,
    arguments: argparse.Namespace,
    space: Space,
    say: Say,
    *,
    sampler: GivenSampler | None = None,
) -> Plan:
    """The plan for the sweep of `claim`, checked against `space`.

    Indexes the videos when no manifest is given. `sampler` is the study's own;
    ``--set sweep.sampler=NAME`` goes before it. Nothing of the sweep is written. Raises `UserError`
    for whatever is wrong.
    """
    plan = (
        _new_plan(claim, arguments, space, say, sampler)
        if claim.spec is None
        else _resumed_plan(claim, claim.spec, arguments, space, say)
    )
    plan = dataclasses.replace(plan, sampler=chosen_sampler(plan.config, sampler))
    check_space(plan)
    return plan


def _new_plan(
    claim: Claim,
    arguments: argparse.Namespace,
    space: Space,
    say: Say,
    sampler: GivenSampler | None,
) -> Plan:
    config = claim.config
    if sampler is not None and not is_set(claim.options, "sweep.sampler"):
        config = with_values(config, {"sweep.sampler": name_of(sampler)})
    chosen_sampler(config, sampler)
    look_up("sweep.pruner", config.sweep.pruner, PRUNERS)
    home = home_dir()
    tracking_uri = claim.options.get("mlflow") or default_mlflow() or default_tracking_uri(home)
    for line in check_tracking(tracking_uri, config.sweep.name):
        say(line)
    database_url = claim.options.get("database", "")
    if database_url:
        open_database(database_url)
    check_sources(config)
    price_list_of(config)  # one that cannot be read is refused before hours of indexing
    manifests = f"{claim.storage_uri}/manifests"
    corpus = find_corpus(config.source, config, home, manifests, say)
    judged = None
    if config.eval_source.is_given:
        judged = find_corpus(config.eval_source, config, home, manifests, say)
    spec = SweepSpec(
        sweep_id=claim.sweep_id,
        config=to_tree(config),
        storage_uri=claim.storage_uri,
        database_url=database_url,
        tracking_uri=tracking_uri,
        data_uri=corpus.data_uri,
        manifest_uri=corpus.manifest_uri,
        eval_data_uri=judged.data_uri if judged else "",
        eval_manifest_uri=judged.manifest_uri if judged else "",
        tags={},
        study=claim.study,
        space=record_space(space),
        options=kept_options(claim.options),
        epoch=claim.epoch,
    )
    whole = (corpus.manifest, judged.manifest if judged else None)
    return _plan_for(spec, space, config, whole, say, is_resumed=False)


def _resumed_plan(
    claim: Claim, kept: SweepSpec, arguments: argparse.Namespace, space: Space, say: Say
) -> Plan:
    config = claim.config
    spec = dataclasses.replace(
        kept,
        config=to_tree(config),
        epoch=claim.epoch,
    )
    for line in check_tracking(spec.tracking_uri, config.sweep.name):
        say(line)
    for uri in filter(None, (spec.data_uri, spec.eval_data_uri)):
        check_region_of(uri, config, say)
    manifest = read_manifest(spec.manifest_uri, config.store)
    judged = read_manifest(spec.eval_manifest_uri, config.store) if spec.eval_manifest_uri else None
    return _plan_for(spec, space, config, (manifest, judged), say, is_resumed=True)


def _plan_for(
    spec: SweepSpec,
    space: Space,
    config: RunConfig,
    whole: tuple[Manifest, Manifest | None],
    say: Say,
    *,
    is_resumed: bool,
) -> Plan:
    """The plan for the videos of the `whole` manifests (what is trained on, and another corpus that
    is judged on, if any), its spec tagged with where its results come from.
    """
    manifest, judged = whole
    with other_judges_named(config):
        videos = divided(manifest, config, config.seed, judged)
        for line in where_lines(videos, config, manifest, judged):
            say(line)
        config, lines = without_labels(config, videos.parts)
        for line in lines:
            say(line)
        spec = spec.with_config(to_tree(config))
        for line in check_parts(videos, config):
            say(line)
    split = videos.parts
    hashes = hashes_of(config, split, spec.eval_data_uri or spec.data_uri)
    tags = {
        **provenance_tags(dataset_hash=videos.manifest.content_hash, protocol_hash=hashes[""]),
        **{protocol_tag(name): value for name, value in hashes.items()},
        VIDEOS_TAG: videos.manifest.videos_hash,
        **source_tags(sys.argv[0]),
        "prp.config_digest": digest(config),
        "prp.data_uri": spec.data_uri,
        "prp.manifest_uri": spec.manifest_uri,
        "prp.storage_uri": spec.folder_uri,
        "prp.num_trials": str(config.sweep.num_trials),
        OBJECTIVE_TAG: config.sweep.objective,
        STUDY_TAG: sys.argv[0],
    }
    if judged is not None:
        tags |= {
            EVAL_DATASET_TAG: videos.judged.content_hash,
            EVAL_VIDEOS_TAG: videos.judged.videos_hash,
            EVAL_DATA_TAG: spec.eval_data_uri,
            EVAL_MANIFEST_TAG: spec.eval_manifest_uri,
        }
    key = spec.tags.get(KEY_TAG, "") if is_resumed else secrets.token_hex(8)
    if key:
        tags[KEY_TAG] = key
    return Plan(
        spec=dataclasses.replace(spec, tags=tags),
        space=space,
        config=config,
        manifest=videos.manifest,
        judged=videos.judged,
        parts=split,
        is_resumed=is_resumed,
    )


def chosen_sampler(config: RunConfig, given: GivenSampler | None) -> GivenSampler | None:
    """None where ``sweep.sampler`` names one of `SAMPLERS`, else the `given` one of that name.

    Raises `UserError` where there is no such sampler: a resumed sweep needs the one that it was
    started with.
    """
    name = config.sweep.sampler
    if name in SAMPLERS:
        return None
    if given is None or name_of(given) != name:
        raise unknown("sweep.sampler", name, [*SAMPLERS, *([name_of(given)] if given else [])])
    return given


def check_space(plan: Plan) -> None:
    """Raise `UserError` when nothing that the space suggests can be trained on these videos.

    The text says how many are long enough for each rate. A name that is no path of the config tree
    is found here, too, before anything is started.
    """

    def fits(values: Mapping[str, Any]) -> Fit:
        return plan.limits.fits(apply_space(plan.config, values))

    values, fit = first_fit(plan.space, fits, plan.config.seed)
    if not fit.ok:
        config = apply_space(plan.config, values)
        check_feasible(plan.parts.train, config.pretext.playback_rate.rate_list, config.clip)
        raise UserError(
            "Nothing that the search space suggests fits these videos; the last one "
            f"drawn: {fit.reason}"
        )


def warm_start_of(plan: Plan, choice: str, say: Say) -> WarmStart:
    """What the results of earlier sweeps are worth to this one, by ``--warm-start``.

    A sweep that goes on has them in its study already, unless its driver died before there was one.
    """
    if choice == "none" or (plan.is_resumed and has_journal(plan.spec)):
        return NOTHING_KNOWN
    sweep = plan.config.sweep
    name, sweep_id = (sweep.name, "") if choice == "auto" else names_of(choice)
    try:
        past = read_past_trials(
            plan.spec.tracking_uri,
            name,
            sweep.objective,
            sweep_id=sweep_id,
            but_not=plan.spec.sweep_id,
        )
    except TrackerUnavailable as error:
        if choice != "auto":
            raise
        say(f"nothing of earlier sweeps is known, and this one begins without it: {error}")
        return NOTHING_KNOWN
    params = {path: str(value) for path, value in flatten(plan.config).items()}
    tags = plan.spec.tags
    warm = plan_warm_start(past, plan.space, params, tags["prp.protocol_hash"], tags[VIDEOS_TAG])
    say(warm.line())
    return warm


def names_of(sweep: str) -> tuple[str, str]:
    """(name, id) of the earlier sweep `sweep`: an id, or the URI of a folder.

    Of one that is in no known storage MLflow may know what it found; then its id says the name.
    """
    try:
        spec = load_sweep(sweep).spec
    except UserError:
        return sweep_name_of(sweep), sweep
    return str(spec.config["sweep"]["name"]), spec.sweep_id
