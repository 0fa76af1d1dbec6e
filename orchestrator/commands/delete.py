"""``prp delete``: remove a sweep that nobody drives from its storage and from this machine."""

from __future__ import annotations

import argparse
import shutil
import sys
from typing import TYPE_CHECKING

from orchestrator.commands.command import run_module
from orchestrator.commands.common_arguments import (
    add_store_arguments,
    add_sweep_argument,
    named_sweep,
)
from prp_core.errors import UserError

if TYPE_CHECKING:
    from orchestrator.config.sweep_spec import SweepSpec
    from orchestrator.journal.lease import Lease


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The sweep, and whether it is asked for first."""
    add_sweep_argument(parser)
    parser.add_argument("--yes", action="store_true", help="do not ask")
    add_store_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Ask, delete, and say what stays; one that was interrupted is done again from its start.

    Raises `LeaseHeld` (exit code 3) while the sweep has a driver.
    """
    spec = named_sweep(arguments, is_to_go=True)

    from orchestrator.journal.lease import acquire
    from orchestrator.journal.stored_sweep import open_folder
    from orchestrator.journal.sweep_folder import LEASE, RECORDS

    store = open_folder(spec).store
    # No driver can start while we hold it.
    with acquire(store, f"Sweep {spec.sweep_id}", key=LEASE) as lease:
        objects = list(store.list())
        size = sum(info.num_bytes for info in objects)
        print(
            f"{spec.folder_uri}: {len(objects)} objects, {size / 1e6:.1f} MB: study, checkpoints, "
            "encoder and report, and what MLflow has not been told yet (`prp publish` sends it)"
        )
        if not arguments.yes and not _is_confirmed(spec.sweep_id):
            print("nothing is deleted")
            return 1
        was_tracked = any(info.key.startswith(RECORDS) for info in objects)
        if was_tracked and (line := close_runs(spec)):
            print(line)
        delete_objects(spec, [info.key for info in objects], lease)
    remove_folders(spec)
    print(f"deleted {spec.sweep_id}; {staying_line(spec)}")
    return 0


def close_runs(spec: SweepSpec) -> str:
    """End what runs of the sweep of `spec` in MLflow, as KILLED: nobody can do so later. A line
    that says why they stay RUNNING, where they do.
    """
    from orchestrator.tracking.dead_runs import close_runs_of_sweep
    from orchestrator.tracking.mlflow_client import first_line
    from orchestrator.tracking.run_names import tags_of_sweep
    from orchestrator.tracking.tags import KEY_TAG

    tags = tags_of_sweep(spec.sweep_id, spec.tags.get(KEY_TAG, ""))
    try:
        close_runs_of_sweep(spec.tracking_uri, tags, "the sweep was deleted")
    # whatever MLflow says, the sweep can be deleted
    except Exception as error:  # noqa: BLE001
        return f"runs of it that are RUNNING in MLflow stay so: {first_line(error)}"
    return ""


def delete_objects(spec: SweepSpec, keys: list[str], lease: Lease) -> None:
    """Delete the objects `keys` of the sweep of `spec`, of which this process holds the `lease`.

    The spec says first that the sweep is being deleted, and goes last, after the lease: wherever
    this is interrupted, no driver goes on with what is left, it is still listed, and can be deleted
    again. Raises `LeaseLost` where this process was stopped and another one deletes.
    """
    from orchestrator.config.sweep_spec import DELETED
    from orchestrator.journal.stored_sweep import open_folder
    from orchestrator.journal.sweep_folder import LEASE, SPEC

    folder = open_folder(spec)
    stored = folder.read_spec()
    if stored is not None and DELETED not in stored.values:
        folder.change_spec(stored, {**stored.values, DELETED: True})
    for key in keys:
        if key not in (LEASE, SPEC):
            lease.check()
            folder.store.delete(key)
    lease.check()
    lease.discard()
    folder.store.delete(SPEC)


def remove_folders(spec: SweepSpec) -> None:
    """Remove the sweep's folder in a storage that is a folder, and its cache on this machine."""
    from orchestrator.journal.stored_sweep import open_folder
    from prp_core.data.object_store import LocalStore

    store = open_folder(spec).store
    folders = [spec.state_dir, *([store.root] if isinstance(store, LocalStore) else [])]
    for folder in dict.fromkeys(folders):
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise UserError(
                f"{folder} cannot be removed ({error.strerror or error}); the sweep is deleted, "
                "remove what is left of its folder by hand"
            ) from None


def staying_line(spec: SweepSpec) -> str:
    """What of the sweep is kept elsewhere and was not deleted."""
    database = (
        f"its study in {spec.database_url} (Optuna's name for it is {spec.sweep_id}), "
        if spec.database_url
        else ""
    )
    versions = (
        ", older versions of its objects where the bucket keeps them"
        if "://" in spec.storage_uri
        else ""
    )
    return (
        f"what stays: {database}its runs and registered models in MLflow ({spec.tracking_uri}, "
        f"experiment {spec.config['sweep']['name']}), the manifest {spec.manifest_uri}{versions}"
    )


def _is_confirmed(sweep_id: str) -> bool:
    """Whether the person at the terminal says yes. Raises `UserError` where there is none."""
    if not sys.stdin.isatty():
        raise UserError(f"prp delete {sweep_id} asks first, and nobody can answer here; add --yes")
    return input("Delete it? [y/N] ").strip().lower() in ("y", "yes")


if __name__ == "__main__":
    raise SystemExit(run_module("delete"))
