"""A feature run: pieces of videos described here or by tasks on a cluster, resumed after a kill.

A piece is finished when its file exists; the folder of the pieces is named by all that decides
them, so that a run with another encoder, other videos or other views does not find them.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from zipfile import BadZipFile

import ray

from orchestrator.data.index import num_usable_cpus
from orchestrator.downstream.feature_job import FeatureJob, Piece, describe_piece, read_piece
from orchestrator.ray_cluster.connect import ray_cluster
from orchestrator.ray_cluster.task_pool import TASK_OPTIONS, results_of_tasks
from orchestrator.storage.open_store import open_store
from orchestrator.tracking.encoder_file import CARD_NAME, WEIGHTS_NAME
from prp_core.data.manifest import VideoRecord
from prp_core.data.object_store import LocalStore
from prp_core.errors import PrpError

VIDEOS_OF_PIECE = 32
GPU_TASK_CPUS = 4


@dataclass(frozen=True)
class FeatureProgress:
    """The progress of a run; `num_reused` videos were described by an earlier one."""

    num_done: int
    num_videos: int
    num_reused: int
    num_broken: int


@dataclass(frozen=True)
class PlannedPiece:
    """One piece: where it goes, and the videos that it holds."""

    key: str
    records: tuple[VideoRecord, ...]


class FeatureRun:
    """The pieces of `records` as `job` describes them; `encoder_files` are handed to the tasks
    through the job's place.
    """

    def __init__(
        self,
        job: FeatureJob,
        records: Sequence[VideoRecord],
        *,
        num_videos_of_piece: int = VIDEOS_OF_PIECE,
    ) -> None:
        self.digest = job.digest(records)
        self.place = open_store(job.place_uri, job.store)
        self.job = replace(job, encoder_uri=f"{job.place_uri.rstrip('/')}/{self.digest}/encoder")
        self.records = tuple(records)
        self.pieces = [
            PlannedPiece(
                f"{self.digest}/pieces/{first:09d}.npz",
                self.records[first : first + num_videos_of_piece],
            )
            for first in range(0, len(self.records), num_videos_of_piece)
        ]

    def run(
        self,
        encoder_files: dict[str, bytes],
        *,
        address: str | None = None,
        num_workers: int = 1,
        on_progress: Callable[[FeatureProgress], None],
    ) -> None:
        """Describe every piece that is not finished: in this process, or where `address` is given
        ("" is the job's own cluster) or `num_workers` is more than 1, as tasks of a Ray cluster.

        Raises the first permanent error.
        """
        for name in (WEIGHTS_NAME, CARD_NAME):
            self.place.write(f"{self.digest}/encoder/{name}", encoder_files[name])
        finished = {info.key for info in self.place.list(f"{self.digest}/pieces/")}
        pending = [piece for piece in self.pieces if piece.key not in finished]
        counted = _Counted(self.records, pending, on_progress)
        if not pending:
            return
        if address is None and num_workers == 1:
            from prp_core.world import best_device

            job = replace(self.job, num_threads=num_usable_cpus(), uses_gpu=best_device() == "cuda")
            for piece in pending:
                counted.add(piece, describe_piece(job, piece.key, piece.records))
            return
        with ray_cluster(address or "", num_cpus=None if address else num_workers):
            _run_tasks(self.job, pending, counted)

    def read(self) -> Iterator[Piece]:
        """The pieces in the order of the records, one in memory at a time. Raises `PrpError` for a
        damaged one, after removing it.
        """
        for planned in self.pieces:
            try:
                yield read_piece(self.place, planned.key)
            except (BadZipFile, ValueError, KeyError, EOFError, OSError) as error:
                self.place.delete(planned.key)
                raise PrpError(
                    f"{self.place.uri}/{planned.key} was damaged ({error}) and is removed; run "
                    "the command again to go on"
                ) from error

    def remove(self) -> None:
        """Remove the pieces and the encoder: what was made of them is whole."""
        for info in list(self.place.list(f"{self.digest}/")):
            self.place.delete(info.key)
        if isinstance(self.place, LocalStore):  # the empty folders that it leaves
            shutil.rmtree(self.place.root / self.digest, ignore_errors=True)
            with contextlib.suppress(OSError):  # another run's work is there
                self.place.root.rmdir()


class _Counted:
    """Counts what is finished and reports it."""

    def __init__(
        self,
        records: Sequence[VideoRecord],
        pending: Sequence[PlannedPiece],
        on_progress: Callable[[FeatureProgress], None],
    ) -> None:
        self._num_videos = len(records)
        self._num_reused = len(records) - sum(len(piece.records) for piece in pending)
        self._num_done = self._num_reused
        self._num_broken = 0
        self._on_progress = on_progress
        self._report()

    def add(self, planned: PlannedPiece, piece: Piece) -> None:
        self._num_done += len(planned.records)
        self._num_broken += len(piece.broken)
        self._report()

    def _report(self) -> None:
        self._on_progress(
            FeatureProgress(self._num_done, self._num_videos, self._num_reused, self._num_broken)
        )


def _run_tasks(job: FeatureJob, pending: Sequence[PlannedPiece], counted: _Counted) -> None:
    """Describe the pieces of `pending` on the connected Ray cluster."""
    has_gpus = ray.cluster_resources().get("GPU", 0) >= 1
    cpus = GPU_TASK_CPUS if has_gpus else 1
    job = replace(job, uses_gpu=has_gpus, num_threads=cpus)
    task = ray.remote(_describe_and_count).options(
        num_cpus=cpus, num_gpus=1 if has_gpus else 0, **TASK_OPTIONS
    )
    for planned, piece in results_of_tasks(task, job, pending, _failed):
        counted.add(planned, piece)


def _describe_and_count(job: FeatureJob, planned: PlannedPiece) -> Piece:
    """A task: what it returns is small, the features stay where they were written."""
    piece = describe_piece(job, planned.key, planned.records)
    return replace(piece, features={})


def _failed(planned: PlannedPiece) -> str:
    keys = f"{planned.records[0].key} to {planned.records[-1].key}"
    return f"The features of {keys} could not be made"
