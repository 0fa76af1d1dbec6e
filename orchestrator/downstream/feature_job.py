"""The feature task: some videos are described by an encoder on some node, and the piece is stored.

Videos are read and described as in every evaluation: by `open_source` (decoders in processes of
their own, or prepared shards) and `describe_videos`.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from orchestrator.config.run_config import RunConfig
from orchestrator.config.store_config import StoreConfig
from orchestrator.data.open_data import open_source
from orchestrator.storage.open_store import open_store
from prp_core.data.clip_config import ClipConfig
from prp_core.data.loader_config import LoaderConfig
from prp_core.data.manifest import Manifest, VideoRecord
from prp_core.data.object_store import ObjectStore, read_all
from prp_core.evaluation.views import EVALUATION_PRECISION, POOLING, ViewsConfig

if TYPE_CHECKING:
    from prp_core.evaluation.features import Describe

ENCODER = "encoder"  # the describer that is the model itself
KEYS, BROKEN = "keys", "broken"


@dataclass(frozen=True, kw_only=True)
class FeatureJob:
    """What all tasks of a run share; places are URIs that every node can open.

    `describers` name the columns: ``encoder``, or one of `prp_core.evaluation.baselines.BASELINES`.
    """

    encoder_uri: str
    encoder_name: str
    weights_sha256: str
    data_uri: str
    place_uri: str
    clip: ClipConfig
    views: ViewsConfig
    loader: LoaderConfig
    store: StoreConfig
    cache_dir: str = ""
    describers: tuple[str, ...] = (ENCODER,)
    seed: int = 632
    num_threads: int = 1
    uses_gpu: bool = False

    def config(self) -> RunConfig:
        """The config that opens the videos. Each is read once, so no decoded frame is kept."""
        base = RunConfig(clip=self.clip, loader=self.loader, store=self.store, seed=self.seed)
        cache = replace(base.cache, dir=self.cache_dir, frames_capacity_bytes=0)
        return replace(base, cache=cache, encoder=replace(base.encoder, name=self.encoder_name))

    def digest(self, records: Sequence[VideoRecord]) -> str:
        """16 hex digits over all that decides the features of `records`, and their order."""
        facts = {
            "encoder": [self.encoder_name, self.weights_sha256],
            "describers": self.describers,
            "seed": self.seed,
            "picture": [self.clip.resize_height, self.clip.resize_width, self.clip.crop],
            "views": [self.views.num_clips, self.views.clip_length],
            "reading": [self.loader.reader, self.loader.max_carried_pixels],
            "how": [POOLING, EVALUATION_PRECISION],
            "data": self.data_uri,
            "videos": [[one.key, one.etag, one.sha256, one.num_frames] for one in records],
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Piece:
    """The features of some videos: rows of each describer's float32 array, by their keys; `broken`
    holds (key, reason) of the videos that could not be read.
    """

    keys: tuple[str, ...]
    features: Mapping[str, np.ndarray]
    broken: tuple[tuple[str, str], ...]

    def to_bytes(self) -> bytes:
        """As the file of a piece; nothing that is read from it can run code."""
        buffer = io.BytesIO()
        about = json.dumps({KEYS: self.keys, BROKEN: self.broken}).encode()
        arrays: dict[str, Any] = {
            **{f"feature_{name}": rows for name, rows in self.features.items()},
            "about": np.frombuffer(about, dtype=np.uint8),
        }
        np.savez(buffer, **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Piece:
        """The piece in a file."""
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            about = json.loads(arrays["about"].tobytes())
            features = {
                name.removeprefix("feature_"): arrays[name]
                for name in arrays.files
                if name != "about"
            }
        return cls(tuple(about[KEYS]), features, tuple((key, why) for key, why in about[BROKEN]))


def describe_piece(job: FeatureJob, key: str, records: Sequence[VideoRecord]) -> Piece:
    """Describe `records` and store the piece under `key` of the job's place; twice is the same.

    Raises `StoreUnavailable`, `UserError`.
    """
    piece = describe(job, records)
    open_store(job.place_uri, job.store, check=False).write(key, piece.to_bytes())
    return piece


def describe(job: FeatureJob, records: Sequence[VideoRecord], encoder: Any = None) -> Piece:
    """The features of `records`, in their order, without those that cannot be read.

    `encoder` is the bare network of the job, None: the one at ``job.encoder_uri``.
    """
    from prp_core.evaluation.features import describe_videos
    from prp_core.world import World, best_device, use_threads

    use_threads(job.num_threads)
    world = World.alone(best_device() if job.uses_gpu else "cpu")
    videos = open_store(job.data_uri, job.store, check=False)
    manifest = Manifest(videos.uri, tuple(records))
    with closing(open_source(videos, manifest, job.config(), world)) as source:
        rows, columns, broken = describe_videos(
            _describers(job, encoder, world.device),
            records,
            source,
            job.clip,
            job.views,
            world.device,
        )
    return Piece(
        tuple(records[row].key for row in rows),
        {name: column.numpy() for name, column in columns.items()},
        tuple(broken[row] for row in sorted(broken)),
    )


def read_piece(place: ObjectStore, key: str) -> Piece:
    """The piece that a task stored. Raises `ObjectMissing`; `BadZipFile`,
    `ValueError`, `KeyError`, `EOFError` or `OSError` for a damaged one."""
    return Piece.from_bytes(read_all(place, key))


def _describers(job: FeatureJob, encoder: Any, device: Any) -> dict[str, Describe]:
    from prp_core.evaluation.baselines import describer_of
    from prp_core.evaluation.features import encoder_feature

    def describer(name: str) -> Describe:
        if name != ENCODER:
            return describer_of(name, job.config(), device)
        if encoder is not None:
            return encoder_feature(encoder.to(device))
        return encoder_feature(
            _encoder(job.encoder_uri, job.weights_sha256, job.store, str(device))
        )

    return {name: describer(name) for name in job.describers}


@functools.lru_cache(maxsize=1)
def _encoder(uri: str, weights_sha256: str, store: StoreConfig, device: str) -> Any:
    """The bare encoder at `uri`, once for all tasks of a process."""
    from orchestrator.tracking.models import load_encoder

    return load_encoder(uri, store=store).encoder.to(device).eval()


def facts_of(job: FeatureJob) -> dict[str, object]:
    """What a table of features says of its making."""
    return {
        "encoder": job.encoder_name,
        "weights_sha256": job.weights_sha256,
        "clip": asdict(job.clip),
        "views": asdict(job.views),
        "loader": asdict(job.loader),
        "pooling": POOLING,
        "precision": EVALUATION_PRECISION,
        "data_uri": job.data_uri,
    }
