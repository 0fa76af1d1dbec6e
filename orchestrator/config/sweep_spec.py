"""The spec of a sweep: its id, its base config, and where its files lie.

<home>/sweeps/<sweep id>/       on the driver's disk
    sweep.json, trials.db (Optuna), ledger.jsonl, tracker/ (spool), driver.lock
<storage>/sweeps/<sweep id>/    where every node reaches it
    trials/0007/checkpoints/, confirm/0007-seed-633/checkpoints/
"""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prp_core.errors import UserError

STUDY_TAG = "prp.study"  # the script that was started, for whoever wants to resume the sweep


@dataclass(frozen=True, kw_only=True)
class SweepSpec:
    """A sweep as its driver, its coordinator and its workers share it.

    `config` is the base config as a plain tree; every node can open the URIs.
    """

    sweep_id: str
    config: dict[str, Any]
    state_dir: str
    storage_uri: str
    database_url: str
    tracking_uri: str
    data_uri: str
    manifest_uri: str
    tags: dict[str, str]

    @property
    def folder_uri(self) -> str:
        """Where this sweep's checkpoints lie."""
        return f"{self.storage_uri.rstrip('/')}/sweeps/{self.sweep_id}"

    @property
    def seed(self) -> int:
        """The seed of the base config, which draws the parts: they are the same for every run."""
        return int(self.config["seed"])

    def confirm_folder(self, number: int, seed: int) -> str:
        """The folder of the confirming run of trial `number` with `seed`, below `folder_uri`."""
        return f"confirm/{number:04d}-seed-{seed}"

    def trial_folder(self, number: int) -> str:
        """A trial's folder, relative to `folder_uri`."""
        return f"trials/{number:04d}"

    def checkpoints_folder(self, number: int) -> str:
        """The folder of a trial's checkpoints, relative to `folder_uri`."""
        return f"{self.trial_folder(number)}/checkpoints"

    def trial_uri(self, number: int) -> str:
        """A trial's folder as a URI."""
        return f"{self.folder_uri}/{self.trial_folder(number)}"

    def with_config(self, config: dict[str, Any]) -> SweepSpec:
        """The same sweep with another base config (a raised number of trials)."""
        return dataclasses.replace(self, config=config)


def new_sweep_id(name: str) -> str:
    """An id for a new sweep called `name`."""
    return f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def sweep_name_of(sweep_id: str) -> str:
    """The name of the sweep with that id, which is its MLflow experiment's, too."""
    return sweep_id.rsplit("-", 3)[0]


def home_dir() -> Path:
    """Where sweeps keep their state on this machine: ``$PRP_HOME``, else ``~/.prp``."""
    return Path(os.environ.get("PRP_HOME") or Path.home() / ".prp").expanduser().resolve()


def sweep_dir(sweep_id: str, home: Path) -> Path:
    """The state folder of a sweep."""
    return home / "sweeps" / sweep_id


def save_spec(spec: SweepSpec) -> None:
    """Write ``sweep.json`` beside, then rename."""
    path = Path(spec.state_dir) / "sweep.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".tmp")
    beside.write_text(json.dumps(dataclasses.asdict(spec), indent=1))
    beside.rename(path)


def load_spec(sweep_id: str, home: Path) -> SweepSpec:
    """The sweep called `sweep_id`. Raises `UserError` that lists the known ones."""
    path = sweep_dir(sweep_id, home) / "sweep.json"
    if not path.is_file():
        known = sorted(entry.parent.name for entry in (home / "sweeps").glob("*/sweep.json"))
        listing = ", ".join(known[-5:]) if known else "none"
        raise UserError(
            f"There is no sweep {sweep_id!r} under {home / 'sweeps'}; known (newest "
            f"last): {listing}"
        )
    return SweepSpec(**json.loads(path.read_text()))
