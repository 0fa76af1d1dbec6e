"""The spec of a sweep: its id, its base config, its space and options, and where its parts lie.

<storage>/sweeps/<sweep id>/    all that a sweep is; every node reaches it
    spec.json, lease.json, journal/, trials/0007/checkpoints/, confirm/0007-seed-633/checkpoints/
<home>/sweeps/<sweep id>/       on the disk of whoever asks, a cache: may be deleted
"""

from __future__ import annotations

import dataclasses
import os
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prp_core.documents import record_from
from prp_core.errors import UserError

STUDY_TAG = "prp.study"  # the script that was started, for whoever wants to resume the sweep
SPEC_FORMAT = 1
NOT_STORED = ("epoch", "storage_uri")
DELETED = "deleted"  # a stored spec with this value is what `prp delete` has begun to remove
OF_TIME = re.compile(r"(.+)-\d{8}-\d{6}-[0-9a-f]{4}")


@dataclass(frozen=True, kw_only=True)
class SweepSpec:
    """A sweep as its driver, its coordinator and its workers share it.

    `config` is the base config as a plain tree; every node can open the URIs. `database_url` is
    empty where the journal holds the study, `eval_data_uri` and `eval_manifest_uri` where encoders
    are judged on the sweep's own videos. `space` is the search space, by name of the dimension
    Optuna's distribution as JSON; `study` the name of the file that it is written in; `options` are
    the options that the sweep was started with. `epoch` is that of the lease under which the driver
    runs, which hands the spec on; it is not stored.
    """

    sweep_id: str
    config: dict[str, Any]
    storage_uri: str
    database_url: str = ""
    tracking_uri: str
    data_uri: str
    manifest_uri: str
    eval_data_uri: str = ""
    eval_manifest_uri: str = ""
    tags: dict[str, str]
    study: str = ""
    space: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    epoch: int = 0

    @property
    def folder_uri(self) -> str:
        """Where this sweep lies: its journal, checkpoints and all else."""
        return f"{self.storage_uri.rstrip('/')}/sweeps/{self.sweep_id}"

    @property
    def judged_words(self) -> str:
        """``trained on kinetics, judged on ucf101``: where encoders are judged on another corpus;
        else empty.
        """
        if not self.eval_data_uri:
            return ""
        names = [uri.rstrip("/").rpartition("/")[2] for uri in (self.data_uri, self.eval_data_uri)]
        if names[0] == names[1]:
            names = [self.data_uri, self.eval_data_uri]
        return f"trained on {names[0]}, judged on {names[1]}"

    @property
    def title(self) -> str:
        """The sweep's id, the two corpora where there are two, and by which protocol its figures
        were measured: the head of every screen.
        """
        return ", ".join(filter(None, (self.sweep_id, self.judged_words, self.protocol_words())))

    def protocol_words(self, kind: str = "") -> str:
        """``protocol 1a2b3c4d5e6f``: of a kind of figure ("" the objective, ``test``,
        ``recognition`` ...); empty where it is not known.
        """
        value = self.tags.get(".".join(filter(None, ("prp.protocol_hash", kind))), "")
        return f"protocol {value}" if value else ""

    @property
    def state_dir(self) -> Path:
        """A cache of the sweep on the disk of this machine."""
        return sweep_dir(self.sweep_id, home_dir())

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

    def rungs_folder(self, number: int) -> str:
        """The folder with the weights of a trial's submitted rungs, relative to `folder_uri`."""
        return f"{self.trial_folder(number)}/rungs"

    def fine_tuning_folder(self, number: int, part: str) -> str:
        """The folder of the checkpoints of a trial's encoder that is fine-tuned and measured on
        `part`, relative to `folder_uri`.
        """
        return f"{self.trial_folder(number)}/fine-tuning/{part}"

    def trial_uri(self, number: int) -> str:
        """A trial's folder as a URI."""
        return f"{self.folder_uri}/{self.trial_folder(number)}"

    def with_config(self, config: dict[str, Any]) -> SweepSpec:
        """The same sweep with another base config (a raised number of trials)."""
        return dataclasses.replace(self, config=config)

    def to_values(self) -> dict[str, Any]:
        """What ``spec.json`` holds: without the place, which its reader knows."""
        values = dataclasses.asdict(self) | {"format": SPEC_FORMAT}
        return {name: value for name, value in values.items() if name not in NOT_STORED}


class BeingDeleted(UserError):
    """A sweep of which a part is gone, because `prp delete` was interrupted; `spec` is what it
    was.
    """

    def __init__(self, spec: SweepSpec) -> None:
        super().__init__(
            f"Sweep {spec.sweep_id!r} in {spec.storage_uri} was being deleted, and a part of it is "
            f"gone; `prp delete {spec.sweep_id} --storage {spec.storage_uri}` removes the rest"
        )
        self.spec = spec

    def __reduce__(self) -> tuple[type[BeingDeleted], tuple[SweepSpec]]:
        return BeingDeleted, (self.spec,)


def spec_of_values(values: Mapping[str, Any], storage_uri: str) -> SweepSpec:
    """The spec whose `SweepSpec.to_values` were found in `storage_uri`.

    Raises `UserError` for one of a later release, or of something else, and `BeingDeleted`.
    """
    known = {entry.name for entry in dataclasses.fields(SweepSpec)} - set(NOT_STORED)
    if values.get("format") != SPEC_FORMAT:
        raise UserError(
            f"The sweep {values.get('sweep_id')!r} in {storage_uri} was made by another release "
            f"(format {values.get('format')!r} of its spec, this one reads {SPEC_FORMAT}); use that"
        )
    try:
        told = {name: value for name, value in values.items() if name in known}
        spec = record_from(SweepSpec, {**told, "storage_uri": storage_uri})
    except ValueError as error:
        raise UserError(f"A spec in {storage_uri} is incomplete: {error}") from None
    if values.get(DELETED):
        raise BeingDeleted(spec)
    return spec


def new_sweep_id(name: str) -> str:
    """An id for a new sweep called `name`."""
    return f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def sweep_name_of(sweep_id: str) -> str:
    """The name of the sweep with that id, which is its MLflow experiment's, too; the id itself
    where a person chose it.
    """
    match = OF_TIME.fullmatch(sweep_id)
    return match[1] if match else sweep_id


def home_dir() -> Path:
    """Where this machine keeps what may be deleted, and the sweeps of no other storage:
    ``$PRP_HOME``, else ``~/.prp``.
    """
    try:
        return Path(os.environ.get("PRP_HOME") or Path.home() / ".prp").expanduser().resolve()
    except RuntimeError:
        raise UserError(
            "This user has no home folder (HOME is not set); set PRP_HOME to a folder that can be "
            "written"
        ) from None


def sweep_dir(sweep_id: str, home: Path) -> Path:
    """A sweep's folder in the home."""
    return home / "sweeps" / sweep_id
