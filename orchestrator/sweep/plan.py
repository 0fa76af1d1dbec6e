"""From a person's words to a sweep that can run: the command's arguments, the videos, the spec;
each wrong input is one clear error.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.config.run_config import (
    RunConfig,
    digest,
    flatten,
    load_tree,
    parse_config,
    replace_path,
    to_tree,
    with_values,
)
from orchestrator.config.sweep_config import STUDY_PLACE
from orchestrator.config.sweep_spec import (
    STUDY_TAG,
    SweepSpec,
    home_dir,
    load_spec,
    new_sweep_id,
    save_spec,
    sweep_dir,
    sweep_name_of,
)
from orchestrator.data import demo_videos
from orchestrator.data.index import index
from orchestrator.data.manifest_check import check_unchanged
from orchestrator.data.open_data import expect_all
from orchestrator.search.pruner import PRUNERS
from orchestrator.search.samplers import SAMPLERS
from orchestrator.search.space import Fit, Space, apply_space, fits_corpus, fits_memory
from orchestrator.search.study import check_storage_url, first_fit
from orchestrator.search.warm_start import NOTHING_KNOWN, WarmStart, plan_warm_start
from orchestrator.storage.manifest_file import read_manifest
from orchestrator.storage.open_store import open_store
from orchestrator.storage.prepared_place import read_index, read_marker
from orchestrator.storage.store_profiles import read_store_profile
from orchestrator.storage.store_region import check_region
from orchestrator.tracking.past_trials import read_past_trials
from orchestrator.tracking.provenance import provenance_tags
from orchestrator.tracking.tracking_uri import check_reachable, default_tracking_uri
from prp_core.catalogue import look_up
from prp_core.data.feasibility import check_feasible
from prp_core.data.manifest import Manifest, Parts, parts
from prp_core.data.shards.index import check_size
from prp_core.errors import UserError
from prp_core.evaluation.protocol import protocol_hash
from prp_core.training.memory import NetworkMemory, memory_table

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """All that is decided before anything is spent."""

    spec: SweepSpec
    config: RunConfig
    manifest: Manifest
    parts: Parts
    is_resumed: bool


def make_plan(arguments: argparse.Namespace, space: Space, say: Say) -> Plan:
    """The plan for `arguments`, checked against `space`. Indexes the videos when no manifest is
    given.

    Nothing of the sweep is written before all is known to be right. Raises `UserError` for whatever
    is wrong.
    """
    if arguments.resume:
        return _resumed_plan(arguments, space, say)
    config = named_after(parse_config(_tree_of(arguments)), space)
    look_up("sweep.sampler", config.sweep.sampler, SAMPLERS)
    look_up("sweep.pruner", config.sweep.pruner, PRUNERS)
    home = home_dir()
    tracking_uri = arguments.mlflow or default_tracking_uri(home)
    check_reachable(tracking_uri)
    if arguments.database:
        check_storage_url(arguments.database)
    storage_uri = absolute(arguments.storage or str(home))
    data_uri, manifest_uri, manifest = find_data(config, home, f"{storage_uri}/manifests", say)
    sweep_id = new_sweep_id(config.sweep.name)
    state_dir = sweep_dir(sweep_id, home)
    spec = SweepSpec(
        sweep_id=sweep_id,
        config=to_tree(config),
        state_dir=str(state_dir),
        storage_uri=storage_uri,
        database_url=arguments.database or f"sqlite:///{state_dir / 'trials.db'}",
        tracking_uri=tracking_uri,
        data_uri=data_uri,
        manifest_uri=manifest_uri,
        tags={},
    )
    plan = _checked(spec, config, manifest, is_resumed=False)
    check_space(plan, space)
    state_dir.mkdir(parents=True)
    save_spec(plan.spec)
    return plan


def named_after(config: RunConfig, space: Space) -> RunConfig:
    """`config` with the name of the file that `space` is written in where its own has a place for
    it.
    """
    study = Path(inspect.getfile(space if inspect.isroutine(space) else type(space))).stem.replace(
        "_", "-"
    )
    return with_values(config, {"sweep.name": config.sweep.name.replace(STUDY_PLACE, study)})


def check_prepared(data_uri: str, manifest: Manifest, config: RunConfig) -> None:
    """Raise `UserError` when the videos are prepared ones, and other ones or smaller ones than the
    sweep wants.
    """
    store = open_store(data_uri, config.store, check=False)
    marker = read_marker(store)
    if marker is not None:
        check_size(marker.settings, config.clip.resize_height, config.clip.resize_width, data_uri)
        expect_all(read_index(store, marker), manifest)


def find_data(config: RunConfig, home: Path, out_uri: str, say: Say) -> tuple[str, str, Manifest]:
    """``(URI of the videos, URI of their manifest, the manifest)``: the given manifest's if its
    videos are unchanged, else indexed now.
    """
    uri = config.source.uri
    manifest_uri = config.source.manifest
    if manifest_uri:
        manifest = read_manifest(manifest_uri, config.store)
        data_uri = absolute(uri or manifest.uri)
        check_place(data_uri, config, say)
        store = open_store(data_uri, config.store)
        if read_marker(store) is None:
            check_unchanged(manifest, manifest_uri, store)
    else:
        data_uri = absolute(uri or make_demo_videos(home, say))
        manifest_uri = index_videos(data_uri, config, out_uri, say)
        manifest = read_manifest(manifest_uri, config.store)
    check_prepared(data_uri, manifest, config)
    return data_uri, absolute(manifest_uri), manifest


def check_space(plan: Plan, space: Space) -> None:
    """Raise `UserError` when nothing that `space` suggests can be trained on these videos, with how
    many are long enough for each rate.

    Finds a name that is no path of the config tree, too, before anything is started.
    """
    counts = frame_counts(plan.parts)
    memory = memory_figures(plan.config)

    def fits(values: Mapping[str, Any]) -> Fit:
        config = apply_space(plan.config, values)
        fit = fits_corpus(config, counts)
        return fit if not fit.ok else fits_memory(config, memory)

    values, fit = first_fit(space, fits, plan.config.seed)
    if not fit.ok:
        config = apply_space(plan.config, values)
        check_feasible(plan.parts.train, config.pretext.playback_rate.rate_list, config.clip)
        raise UserError(
            "Nothing that the search space suggests fits these videos; the last one "
            f"drawn: {fit.reason}"
        )


def warm_start_of(plan: Plan, space: Space, choice: str, say: Say) -> WarmStart:
    """What earlier sweeps are worth to this one, by ``--warm-start``. A resumed sweep has it
    already.
    """
    if choice == "none" or plan.is_resumed:
        return NOTHING_KNOWN
    sweep = plan.config.sweep
    name, sweep_id = (sweep.name, "") if choice == "auto" else (sweep_name_of(choice), choice)
    past = read_past_trials(
        plan.spec.tracking_uri, name, sweep.objective, sweep_id=sweep_id, but_not=plan.spec.sweep_id
    )
    params = {path: str(value) for path, value in flatten(plan.config).items()}
    warm = plan_warm_start(past, space, params, plan.spec.tags["prp.protocol_hash"])
    say(warm.line())
    return warm


def memory_figures(config: RunConfig) -> dict[str, NetworkMemory]:
    """What every encoder takes on a worker, where the memory of one is known; else nothing, and
    nothing is refused.
    """
    return memory_table() if config.resources.worker_memory_gib else {}


def frame_counts(split: Parts) -> tuple[int, ...]:
    """The lengths of the training videos."""
    return tuple(record.num_frames for record in split.train)


def make_demo_videos(home: Path, say: Say) -> str:
    """The folder of the demo's videos, made unless it is there."""
    say(f"no --data given: the demo's own videos, in {home / 'demo-videos'}")
    return str(demo_videos.make(home / "demo-videos"))


def index_videos(data_uri: str, config: RunConfig, out_uri: str, say: Say) -> str:
    """The URI of the manifest of the videos under `data_uri`; what was indexed before is not read
    again.
    """
    source = config.source
    say(f"indexing {data_uri}")
    manifest, manifest_uri = index(
        data_uri,
        out_uri,
        splits_dir=source.splits_dir or None,
        split=source.split,
        labels_csv=source.labels_csv or None,
        loader=config.loader,
        store=config.store,
        cache_dir=config.cache.dir or None,
        cache_capacity_bytes=config.cache.capacity_bytes,
    )
    say(
        f"{len(manifest.usable())} videos, {len(manifest.quarantined())} quarantined, "
        f"in {manifest_uri}"
    )
    return manifest_uri


def check_place(data_uri: str, config: RunConfig, say: Say) -> None:
    """Refuse a bucket of another region (see `check_region`), once for the whole sweep."""
    if said := check_region(data_uri, config.store):
        say(said)


def absolute(uri: str) -> str:
    """`uri`, with a relative folder made absolute: workers have other working directories."""
    return uri if "://" in uri else str(Path(uri).expanduser().resolve())


def _resumed_plan(arguments: argparse.Namespace, space: Space, say: Say) -> Plan:
    spec = load_spec(arguments.resume, home_dir())
    tree = _with_given(spec.config, _changeable(arguments))
    if arguments.settings:
        kept = (
            "a resumed sweep keeps its config (only --trials, --confirm, --prices and the "
            "budget can be changed)"
        )
        raise UserError(f"--set {arguments.settings[0]}: {kept}; start a new sweep instead")
    config = parse_config(tree)
    check_reachable(spec.tracking_uri)
    check_place(spec.data_uri, config, say)
    spec = spec.with_config(to_tree(config))
    plan = _checked(spec, config, read_manifest(spec.manifest_uri, config.store), is_resumed=True)
    check_space(plan, space)
    save_spec(plan.spec)
    return plan


def _tree_of(arguments: argparse.Namespace) -> dict:
    profile = (
        read_store_profile(arguments.store, [Path.cwd(), home_dir()]) if arguments.store else {}
    )
    settings = [f"store.{name}={json.dumps(value)}" for name, value in profile.items()]
    tree = load_tree(arguments.preset, [*settings, *arguments.settings])
    given = {
        "source.uri": arguments.data,
        "source.manifest": arguments.manifest,
        "source.splits_dir": arguments.splits,
        "source.split": arguments.split,
        "source.labels_csv": arguments.labels,
    }
    return _with_given(tree, given | _changeable(arguments))


def _changeable(arguments: argparse.Namespace) -> dict[str, Any]:
    """What a new sweep and a resumed one both take from the command line, by path."""
    return {
        "sweep.num_trials": arguments.trials,
        "confirm.num_candidates": arguments.confirm,
        "budget.gpu_hours": arguments.budget_gpu_hours,
        "budget.cpu_hours": arguments.budget_cpu_hours,
        "budget.usd": arguments.budget_usd,
        "budget.prices": absolute(arguments.prices) if arguments.prices else None,
    }


def _with_given(tree: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    for path, value in given.items():
        if value is not None:
            tree = replace_path(tree, path, value)
    return tree


def _checked(spec: SweepSpec, config: RunConfig, manifest: Manifest, *, is_resumed: bool) -> Plan:
    split = parts(manifest, val_fraction=config.source.val_fraction, seed=config.seed)
    protocol = protocol_hash(config.clip, config.evaluation, manifest, split.train, split.val)
    tags = {
        **provenance_tags(dataset_hash=manifest.content_hash, protocol_hash=protocol),
        "prp.config_digest": digest(config),
        "prp.data_uri": spec.data_uri,
        "prp.manifest_uri": spec.manifest_uri,
        "prp.storage_uri": spec.folder_uri,
        "prp.num_trials": str(config.sweep.num_trials),
        STUDY_TAG: sys.argv[0],
    }
    return Plan(dataclasses.replace(spec, tags=tags), config, manifest, split, is_resumed)
