"""Checkpoints that are committed whole or not at all, in any object store.

Under the folder's prefix, each checkpoint has a folder of its own::

    step-0000000120/000001.000003-3f9c...-common.pt   a part, named by its attempt and its sha256
    step-0000000120/000001.000003-81aa...-rank-0.pt
    step-0000000120/000001.000003-commit.json         every part's size and sha256
    committed.json                                    the commits that count; written last

Every part has been written whole, by its size and the checksum that a store takes with it (S3),
before the commit is written, and older checkpoints go only after that; nothing is read back. Who
reads compares again, and falls back to the checkpoint before when anything is
missing, torn or altered. A store that cannot be reached is an error, never a reason to start from
the beginning. `committed.json` (`checkpoint_record.py`) is written on the condition that no later
attempt at the run has begun, so one that was stopped and wakes up commits and removes nothing.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from prp_core.agreement import first_alone, together
from prp_core.data.object_store import ObjectInfo, ObjectStore, read_all
from prp_core.documents import parse_json_object, record_from
from prp_core.errors import CorruptObject, ObjectChanged, ObjectMissing
from prp_core.tensor_file import load_tensors
from prp_core.training.checkpoint_keys import (
    ONLY_ATTEMPT,
    STEP_PREFIX,
    RunAttempt,
    attempt_of,
    commit_key,
    is_commit,
    is_in_step_folder,
    step_folder,
    step_of,
)
from prp_core.training.checkpoint_record import CommitRecord, RecordFile, Superseded
from prp_core.world import World


@dataclass(frozen=True)
class Part:
    """One file of a checkpoint: `name` as its writer calls it, `key` in the store."""

    name: str
    key: str
    num_bytes: int
    sha256: str


@dataclass(frozen=True)
class Checkpoint:
    """A committed checkpoint after `step` optimiser steps.

    `facts` are plain JSON values; `skipped` says why newer checkpoints were not used.
    """

    step: int
    facts: Mapping[str, Any]
    parts: tuple[Part, ...]
    skipped: tuple[str, ...] = ()

    def part(self, name: str) -> Part | None:
        """The part called `name`, if the checkpoint has it."""
        return next((part for part in self.parts if part.name == name), None)


class CheckpointFolder:
    """The checkpoints of one run under `prefix` of `store`, of which the newest `num_kept` stay.

    One run has one writer at a time: the newest `attempt` at it. Every method that writes raises
    `Superseded`, on every worker, once a later attempt has begun. `continues` are the checkpoints
    of the run from whose newest one this run starts, while it has none of its own.
    """

    def __init__(
        self,
        store: ObjectStore,
        prefix: str = "checkpoints",
        *,
        num_kept: int = 2,
        attempt: RunAttempt = ONLY_ATTEMPT,
        continues: CheckpointFolder | None = None,
    ) -> None:
        assert num_kept >= 1, num_kept
        self.continues = continues
        self._store = store
        self._prefix = prefix.strip("/")
        self._num_kept = num_kept
        self._attempt = attempt
        self._record = RecordFile(store, self._prefix, attempt)

    @property
    def uri(self) -> str:
        """The folder's address."""
        return f"{self._store.uri}/{self._prefix}"

    def begin(self, world: World) -> None:
        """Begin this attempt, before its first checkpoint is read: no earlier one commits any more.

        Called by every worker.
        """
        self.first_alone(world, "beginning an attempt", self._record.begin)

    def save(
        self, step: int, files: Mapping[str, bytes], *, facts: Mapping[str, Any], world: World
    ) -> Checkpoint:
        """Commit a checkpoint of every worker's `files`, then remove checkpoints that are too old.

        The files' names are distinct over all workers. Called by every worker at the same step.
        When a write fails on one, all raise and nothing is committed.
        """
        own = together(
            world,
            f"writing the checkpoint of step {step}",
            lambda: self.write_parts(step, files),
        )
        checkpoint = Checkpoint(step, dict(facts), joined_parts(world.gather(own)))
        self.first_alone(
            world, f"committing the checkpoint of step {step}", lambda: self.commit(checkpoint)
        )
        return checkpoint

    def write_parts(self, step: int, files: Mapping[str, bytes]) -> list[Part]:
        """Write one worker's `files` of the checkpoint of `step`, which counts once committed.

        Raises `CorruptObject` where the store kept another number of bytes.
        """
        return [self._write_part(step, *file) for file in files.items()]

    def commit(self, checkpoint: Checkpoint) -> None:
        """Commit a checkpoint whose parts are all written, then remove those that are too old.

        Called on the first worker alone. Raises `Superseded`, before anything is removed, once a
        later attempt has begun.
        """
        key = commit_key(self._prefix, checkpoint.step, self._attempt)
        data = _encode_commit(checkpoint)
        self._write_whole(key, data)
        self._prune(checkpoint, self._record.add(checkpoint.step, self._num_kept))

    def first_alone(self, world: World, doing: str, action: Callable[[], Any]) -> None:
        """Do `action` on the first worker; every one raises `Superseded` where it did."""

        def superseded_by() -> str:
            try:
                action()
            except Superseded as error:
                return str(error)
            return ""

        if later := first_alone(world, doing, superseded_by):
            raise Superseded(later)

    def attach(self, files: Mapping[str, bytes], world: World) -> None:
        """Write `files` beside the checkpoints, from the first worker; they stay when those go."""

        def write() -> None:
            for name, data in files.items():
                self._store.write(f"{self._prefix}/{name}", data)

        first_alone(world, "writing beside the checkpoints", write)

    def latest_committed(self, world: World | None = None) -> Checkpoint | None:
        """The newest checkpoint of which every part is whole, on every worker; None without any.

        Raises `StoreUnavailable` when the store cannot say, and `CorruptObject` when checkpoints
        are there but none is whole: to start from the beginning in silence would throw the run
        away.
        """
        return first_alone(
            world or World.alone(), "looking for a checkpoint", self._latest_committed
        )

    def read(self, checkpoint: Checkpoint, name: str) -> bytes:
        """A part's bytes, compared with its sha256; raises `CorruptObject`."""
        part = checkpoint.part(name)
        assert part is not None, (name, checkpoint)
        data = read_all(self._store, part.key)
        self._compare(part, len(data), hashlib.sha256(data).hexdigest())
        return data

    def _write_part(self, step: int, name: str, data: bytes) -> Part:
        sha256 = hashlib.sha256(data).hexdigest()
        folder = step_folder(self._prefix, step)
        key = f"{folder}/{self._attempt.tag}{sha256[:16]}-{name}"
        part = Part(name, key, len(data), sha256)
        self._write_whole(part.key, data)
        return part

    def _write_whole(self, key: str, data: bytes) -> None:
        """Write an object; raises `CorruptObject` where the store kept another number of bytes."""
        info = self._store.write(key, data)
        if info.num_bytes != len(data):
            raise CorruptObject(
                f"{self._store.uri}/{key}: {info.num_bytes} bytes, written were {len(data)} bytes"
            )

    def _verify(self, part: Part) -> None:
        digest = hashlib.sha256()
        num_bytes = 0
        for piece in self._store.read(part.key):
            digest.update(piece)
            num_bytes += len(piece)
        self._compare(part, num_bytes, digest.hexdigest())

    def _compare(self, part: Part, num_bytes: int, sha256: str) -> None:
        if (num_bytes, sha256) != (part.num_bytes, part.sha256):
            raise CorruptObject(
                f"{self._store.uri}/{part.key}: {num_bytes} bytes {sha256[:16]}, "
                f"written were {part.num_bytes} bytes {part.sha256[:16]}"
            )

    def _prune(self, newest: Checkpoint, record: CommitRecord) -> None:
        """Remove what is not of the checkpoints of `record`, each commit before its parts, and
        nothing of a later attempt.

        So no checkpoint is ever there in part.
        """
        kept = {self._place_of(key) for key in record.commits}
        named = {part.key for part in newest.parts}
        newest_place = newest.step, self._attempt
        dropped = []
        for info in self._objects():
            place = self._place_of(info.key)
            is_litter = place == newest_place and info.key not in named
            if (place not in kept and place[1] <= self._attempt) or (
                is_litter and not is_commit(info.key)
            ):
                dropped.append(info.key)
        for key in sorted(dropped, key=lambda key: not is_commit(key)):
            self._store.delete(key)

    def _latest_committed(self) -> Checkpoint | None:
        skipped: list[str] = []
        for key in reversed(self._record.read().commits):
            try:
                checkpoint = _decode_commit(read_all(self._store, key), skipped)
                if checkpoint.step != step_of(self._prefix, key):
                    raise CorruptObject(f"it commits step {checkpoint.step}, of another checkpoint")
                for part in checkpoint.parts:
                    self._verify(part)
            except (ObjectMissing, ObjectChanged, CorruptObject) as error:
                skipped.append(f"{key}: {error}")
            else:
                return checkpoint
        if skipped:
            raise CorruptObject(
                f"{self.uri} holds {len(skipped)} checkpoints and none is whole "
                f"({skipped[0]}); remove it to start from the beginning"
            )
        return None

    def _objects(self) -> list[ObjectInfo]:
        """The objects in step folders, sorted by key, that is by step."""
        listed = self._store.list(f"{self._prefix}/{STEP_PREFIX}")
        return [info for info in listed if is_in_step_folder(self._prefix, info.key)]

    def _place_of(self, key: str) -> tuple[int, RunAttempt]:
        return step_of(self._prefix, key), attempt_of(key)


def joined_parts(shares: Sequence[Sequence[Part]]) -> tuple[Part, ...]:
    """The parts that the workers wrote, by name; names are distinct over all of them."""
    parts = tuple(sorted((part for share in shares for part in share), key=lambda part: part.name))
    assert len({part.name for part in parts}) == len(parts), [part.name for part in parts]
    return parts


def _encode_commit(checkpoint: Checkpoint) -> bytes:
    body = {
        "step": checkpoint.step,
        "facts": dict(checkpoint.facts),
        "parts": [asdict(part) for part in checkpoint.parts],
    }
    return json.dumps({"sha256": _digest_of(body), "checkpoint": body}, indent=1).encode()


def _decode_commit(data: bytes, skipped: list[str]) -> Checkpoint:
    """The checkpoint that a commit describes.

    Raises `CorruptObject` for a commit that is torn or altered.
    """
    try:
        document = parse_json_object(data)
        body = document["checkpoint"]
        if document["sha256"] != _digest_of(body):
            raise CorruptObject("the commit was altered")
        parts = tuple(record_from(Part, part) for part in body["parts"])
        return Checkpoint(int(body["step"]), dict(body["facts"]), parts, tuple(skipped))
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptObject(f"the commit is torn ({error})") from error


def _digest_of(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def to_bytes(state: Mapping[str, Any]) -> bytes:
    """Tensors and plain values in torch's file format."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    return buffer.getvalue()


def from_bytes(data: bytes) -> dict[str, Any]:
    """The inverse of `to_bytes`, on the CPU; refuses anything that could run code.

    Raises `CorruptObject` for other bytes.
    """
    try:
        state = load_tensors(io.BytesIO(data))
    except ValueError as error:
        raise CorruptObject(str(error)) from error
    if not isinstance(state, dict):
        raise CorruptObject(f"{len(data)} bytes hold {type(state).__name__}, no checkpoint's state")
    return state
