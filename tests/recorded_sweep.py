"""The records of a sweep that was never trained: real Optuna and MLflow, drawn figures."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.config.run_config import load_config, to_tree
from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.coordinator.run_starts import sweep_start, trial_start
from orchestrator.cost.ledger import LEDGER
from orchestrator.journal.stored_sweep import open_folder, open_journal
from orchestrator.search.journal_backend import open_study_storage
from orchestrator.search.pruner import PruningRule
from orchestrator.search.space import apply_space, fits_corpus
from orchestrator.search.study import SweepStudy
from orchestrator.storage.manifest_file import write_manifest
from orchestrator.storage.open_store import open_store
from orchestrator.tracking.mlflow_tracker import MlflowTracker
from orchestrator.tracking.provenance import provenance_tags
from orchestrator.tracking.run_names import SWEEP_RUN, trial_run
from orchestrator.tracking.saved_view import ViewedSweep, view_tags
from prp_core.data.manifest import Manifest, VideoRecord
from sweeps.rate_search import space
from tests.tools.track_points import tracker_of

QUALITY = {"1-2": 0.30, "1-4": 0.42, "1-2-4": 0.45, "1-3-6": 0.40, "1-2-4-8": 0.62, "2-4-8": 0.35}
RUNGS = (3, 6, 12)
NUM_VAL_GROUPS = 4


def manifest_of(num_groups: int = 20, num_labels: int = 6) -> Manifest:
    """Videos of `num_labels` classes in each of `num_groups` groups, one of them short, and two
    that are broken.
    """
    records = [
        VideoRecord(
            key=f"{label}/{group:02d}.mp4",
            num_bytes=1000,
            etag="e",
            num_frames=40 if (label, group) == (0, 0) else 160,
            codec="h264",
            label=f"motion-{label}",
            group=f"scene-{group:02d}",
            split="val"
            if group < NUM_VAL_GROUPS
            else "test"
            if group < 2 * NUM_VAL_GROUPS
            else "train",
        )
        for group in range(num_groups)
        for label in range(num_labels)
    ]
    broken = [
        VideoRecord(key=f"broken/{number}.mp4", num_bytes=9, etag="e", reason=reason)
        for number, reason in enumerate(("truncated", "empty"))
    ]
    return Manifest("/videos", (*records, *broken))


def build_sweep(
    home: Path,
    *,
    num_trials: int = 24,
    quality: Mapping[str, float] = QUALITY,
    noise: float = 0.05,
    failing: Sequence[int] = (7,),
    ledger: bool = False,
    with_end: bool = True,
    state_of_last: str = "ended",
    storage: str = "",
) -> SweepSpec:
    """Run `num_trials` trials on paper and leave in `storage` (empty: `home`) what a sweep leaves,
    and MLflow's database in `home`; `state_of_last` ``running`` leaves the last one open.
    """
    config = load_config("demo", [f"sweep.num_trials={num_trials}", "sweep.num_startup_trials=8"])
    manifest = manifest_of()
    sweep_id = "rate-search-20261123-080000-abcd"
    spec = SweepSpec(
        sweep_id=sweep_id,
        config=to_tree(config),
        storage_uri=storage or str(home),
        tracking_uri=f"sqlite:///{home / 'mlflow.db'}",
        data_uri="/videos",
        manifest_uri=write_manifest(manifest, open_store(home / "manifests")),
        tags={
            **provenance_tags(dataset_hash=manifest.content_hash, protocol_hash="0123456789ab"),
            "prp.config_digest": "abcdef012345",
        },
    )
    open_folder(spec).create_spec(spec.to_values())
    journal = open_journal(spec)
    study = SweepStudy(open_study_storage(journal), sweep_id, space, seed=1, num_startup_trials=8)
    tracker = tracker_of(spec.tracking_uri, config.sweep.name, sweep_id, home)
    tracker.start(SWEEP_RUN, sweep_start(spec, config))
    tracker.tag_experiment(view_tags(viewed(spec.sweep_id)))
    draw, frame_counts = random.Random(3), tuple(record.num_frames for record in manifest.usable())
    rows: list[dict[str, Any]] = []
    for place in range(num_trials):
        proposal = study.ask(lambda values: fits_corpus(apply_space(config, values), frame_counts))
        trial_config = apply_space(config, proposal.values)
        tracker.start(
            trial_run(proposal.number),
            trial_start(spec, proposal.number, trial_config, proposal.values),
        )
        level = quality[proposal.values["pretext.playback_rate.rates"]] + draw.gauss(0, noise)
        is_open = state_of_last == "running" and place == num_trials - 1
        metrics = walk(
            study,
            tracker,
            proposal.number,
            level,
            draw,
            fails=place in failing,
            stays_open=is_open,
        )
        rows += ledger_rows(proposal.number, place, len(metrics), draw)
    baselines = {"random_init": 0.30, "mean_frame": 0.20, "mean_absolute_difference": 0.25}
    if with_end:
        tracker.log(
            SWEEP_RUN,
            {f"baseline/{name}/retrieval/recall_at_1": value for name, value in baselines.items()},
            num_trials,
        )
    if ledger:
        journal.append([{"kind": LEDGER, "entry": row} for row in rows])
    if with_end:
        tracker.finish(SWEEP_RUN, "finished")
    assert tracker.close(60).num_records == 0
    journal.close()
    return spec


def viewed(sweep_id: str) -> ViewedSweep:
    """What the saved view of the recorded sweep shows."""
    varied = ("pretext.playback_rate.rates", "pretext.playback_rate.loss_weight")
    return ViewedSweep(
        sweep_id=sweep_id,
        objective="retrieval/recall_at_1",
        varied=varied,
        shared=varied,
        cost="cost/cpu_hours",
    )


def walk(
    study: SweepStudy,
    tracker: MlflowTracker,
    number: int,
    level: float,
    draw: random.Random,
    *,
    fails: bool,
    stays_open: bool,
) -> dict[int, float]:
    """One trial from rung to rung until the pruner or its end stops it; epoch -> objective."""
    rates = study.trials()[number].params["pretext.playback_rate.rates"].split("-")
    values: dict[int, float] = {}
    for epoch in RUNGS:
        value = (
            round(
                48
                * min(
                    0.95,
                    max(0.05, 0.167 + (level - 0.167) * epoch / RUNGS[-1] + draw.gauss(0, 0.03)),
                )
            )
            / 48
        )
        values[epoch] = value
        confusion = {
            f"rate_confusion/{true}_as_{named}": 0.7 if true == named else 0.3 / (len(rates) - 1)
            for true in rates
            for named in rates
        }
        metrics = {
            "retrieval/recall_at_1": value,
            "epoch": epoch,
            "data/samples": 120.0 * epoch,
            "time/data_wait_share": 0.08,
            **confusion,
        }
        tracker.log(trial_run(number), metrics, 15 * epoch)
        study.report(number, epoch, value)
        decision = study.decide(
            number, epoch, PruningRule("asha", 2), is_last_rung=epoch == RUNGS[-1]
        )
        if stays_open:
            return values
        if fails:
            reason = (
                "DivergedError: train/loss is nan at step 17: training diverged; lower "
                "training.learning_rate"
            )
            study.tell_failed(number, reason)
            tracker.finish(trial_run(number), "failed", reason)
            return values
        if not decision.go_on:
            study.tell_pruned(number, decision.reason)
            tracker.finish(trial_run(number), "pruned", decision.reason)
            return values
    study.set_note(
        number,
        "metrics",
        json.dumps({"retrieval/recall_at_1": value, "linear_probe/accuracy": value - 0.05}),
    )
    study.tell_finished(number, value)
    tracker.finish(trial_run(number), "finished")
    return values


def ledger_rows(
    number: int, place: int, num_rungs: int, draw: random.Random
) -> list[dict[str, Any]]:
    """What the ledger says of a trial that reached so many rungs."""
    return [
        {
            "trial": number,
            "rung_epoch": RUNGS[rung],
            "attempt": 1,
            "kind": "train",
            "started": 1000.0 * place + 100 * rung,
            "ended": 1000.0 * place + 100 * rung + 90,
            "gpus": 0.0,
            "cpus": 1.0,
            "busy_seconds": 80.0 * (rung + 1) + draw.random(),
            "queued_seconds": 10.0,
            "data_wait_seconds": 6.0,
            "recomputed_seconds": 2.0 if place == 3 else 0.0,
            "after_pruning_seconds": 1.0,
            "usd": 0.01 * (rung + 1),
            "price": "a price list",
        }
        for rung in range(num_rungs)
    ]
