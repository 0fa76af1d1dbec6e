"""A short sweep on a cluster of three nodes over S3, in peace or under fire.

Its trials do not depend on one another: values are drawn at random by number, nothing is pruned. So
a trial that was disturbed has the points of one that was not, to the last digit.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from orchestrator.tracking.run_names import trial_run
from tests.fixtures_mlflow import MlflowServer
from tests.fixtures_s3 import S3Server
from tests.sweep_check import Records, faults_of, records_of
from tests.tools.cluster_nodes import ThreeNodes
from tests.tools.nemesis import Battlefield, Kind

NUM_TRIALS = 2
SETTINGS = (
    f"sweep.num_trials={NUM_TRIALS}",
    "sweep.sampler=random",
    "sweep.pruner=none",
    "showcase.num_trials=0",
    "training.num_epochs=8",  # some seconds of training
    "training.checkpoint_every_steps=2",
    "resources.num_workers=1",
)


def under_fire(
    home: Path,
    videos: Path,
    storage: str,
    mlflow: MlflowServer,
    s3: S3Server,
    name: str,
    settings: Sequence[str] = (),
    nodes: ThreeNodes | None = None,
) -> Battlefield:
    """The battlefield of the sweep called `name`, kept in `storage`, with further `settings`; on
    `nodes`, or on a cluster of its own.
    """
    return Battlefield(
        home,
        videos,
        storage,
        mlflow,
        name=name,
        settings=[*SETTINGS, *settings, f"sweep.name={name}"],
        s3=s3,
        nodes=nodes,
    )


def in_peace(battlefield: Battlefield, storage: str, name: str) -> Records:
    """The records of the sweep called `name`, kept in `storage`, which nothing disturbs."""
    with battlefield as field:
        study = field.start()
        assert study.wait(1200) == 0, study.output[-4000:]
    return records_of(storage, name, battlefield.mlflow.uri)


def faults_after(
    strikes: Sequence[Kind],
    folder: Path,
    videos: Path,
    storage: str,
    mlflow: MlflowServer,
    s3: S3Server,
    reference: Records | None = None,
    settings: Sequence[str] = (),
    nodes: ThreeNodes | None = None,
) -> tuple[list[str], str]:
    """What is wrong with a sweep that ended after `strikes`, one after the other, each as soon as a
    worker trains (MLflow: at any time) and a step followed the one before; and what its last driver
    said. Training does not wait for a server that is away, so such a strike comes last.

    Both sweeps run on `nodes`, or each on a cluster of its own. `reference` holds the records of an
    undisturbed sweep; without it one is run first. `settings` are further values of both sweeps'
    config.
    """
    places = videos, storage, mlflow, s3
    if reference is None:
        peace = under_fire(folder / "peace", *places, "peace", settings, nodes)
        reference = in_peace(peace, storage, "peace")
    assert set(reference.states.values()) == {"COMPLETE"}
    assert all(reference.points[trial_run(number)] for number in range(NUM_TRIALS))
    with under_fire(folder / "fire", *places, "fire", settings, nodes) as field:
        field.start()
        known = 0
        for kind in strikes:
            field.wait_until(lambda known=known: field.num_steps() > known, f"a step before {kind}")
            if kind != Kind.MLFLOW:
                field.wait_until(lambda: bool(field.processes(Kind.WORKER)), "a worker")
            known = field.num_steps()
            field.strike(kind)
        study = field.study
        assert study is not None and study.wait(900) == 0, study and study.output[-4000:]
        said = study.output
    faults = faults_of(storage, "fire", mlflow.uri, num_trials=NUM_TRIALS, reference=reference)
    return faults, said
