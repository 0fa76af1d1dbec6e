"""What a showcase holds, on real videos: the objective's neighbours, the learner's targets."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from prp_core.data.clip_config import ClipConfig
from prp_core.data.clip_dataset import ClipDataset, SampleDraw
from prp_core.data.dilated_sampling import spread_frames
from prp_core.data.manifest import VideoRecord
from prp_core.data.object_store import LocalStore
from prp_core.data.spans import SpanBatch
from prp_core.data.transforms import resize_and_centre_crop, thumbnails
from prp_core.data.video_source import VideoSource
from prp_core.encoders.encoder_config import EncoderConfig
from prp_core.evaluation.baselines import ENCODER, evaluate_baselines, hits_beside_baselines
from prp_core.evaluation.downstream import EvaluationVideos, evaluate_encoder
from prp_core.evaluation.evaluation_config import Evaluations
from prp_core.evaluation.features import FeatureTable
from prp_core.evaluation.neighbours import find_neighbours, neighbours_of
from prp_core.evaluation.retrieval import Retrieval
from prp_core.evaluation.video_strip import video_strip
from prp_core.evaluation.views import ViewsConfig
from prp_core.pretext.motion_attention import AttentionConfig
from prp_core.pretext.network import build_network
from prp_core.pretext.playback_rate import PlaybackRate
from prp_core.pretext.pretext_config import PretextTasks
from prp_core.pretext.reconstruction_sample import choose_draws, read_span, reconstruct
from prp_core.pretext.slow_motion import SlowMotion, SlowMotionTargets, reconstruction_loss
from prp_core.pretext.targets import build_pretext_batch
from prp_core.training.checkpoint import CheckpointFolder, to_bytes
from prp_core.training.encoder_export import rebuild_network
from prp_core.training.pretrain_config import PretrainConfig
from prp_core.world import World
from tests.tiny_corpus import LOADER, NUM_FRAMES, make_corpus, open_source

ALONE = World.alone()
CONFIG = PretrainConfig(
    encoder=EncoderConfig(name="c3d_small"),
    pretext=PretextTasks(playback_rate=PlaybackRate(rates="1-2-4")),
    clip=ClipConfig(
        length=8, resize_height=36, resize_width=40, crop=32, random_crop=True, flip_probability=1.0
    ),
    evaluation=Evaluations(
        views=ViewsConfig(num_clips=1, clip_length=8), retrieval=Retrieval(ks="1")
    ),
    loader=LOADER,
    seed=4,
)
NETWORK = build_network(CONFIG).eval()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("corpus")


@pytest.fixture(scope="module")
def parts(corpus: Path) -> Any:
    return make_corpus(corpus, num_train=6, num_val=4)


@pytest.fixture(scope="module")
def source(parts: Any, corpus: Path) -> Iterator[VideoSource]:
    with open_source(corpus) as source:
        yield source


def test_neighbours_are_those_that_the_objective_counts(parts: Any, source: VideoSource) -> None:
    where = (CONFIG, EvaluationVideos(parts.train, parts.val, source), ALONE)
    shown = [record.key for record in parts.val[::-1]]
    found = find_neighbours(NETWORK.encoder, *where, shown=shown)
    metrics = evaluate_encoder(NETWORK.encoder, *where, is_final=False)
    assert found.recall_at_1 == metrics["retrieval/recall_at_1"] and (
        found.num_queries,
        found.num_gallery,
    ) == (4, 6)
    assert [answer.key for answer in found.shown] == shown
    hits = hits_beside_baselines(NETWORK.encoder, *where)
    assert {answer.key: answer.is_correct for answer in found.shown} == hits[ENCODER]
    pixels = evaluate_baselines(*where, is_final=False)["mean_frame/retrieval/recall_at_1"]
    assert sum(hits["mean_frame"].values()) / 4 == pixels
    labels = {record.key: record.label for record in parts.train}
    for answer in found.shown:
        similarities = [one.similarity for one in answer.neighbours]
        assert (
            len(similarities) == 5
            and similarities == sorted(similarities, reverse=True)
            and max(similarities) <= 1 + 1e-5
        )
        assert all(
            one.label == labels[one.key] and one.is_correct == (one.label == answer.label)
            for one in answer.neighbours
        )


def test_a_similarity_is_the_cosine_and_a_query_without_features_is_left_out() -> None:
    gallery = FeatureTable(
        torch.tensor([[1.0, 0.0], [1.0, 1.0]]), ("a", "b"), ("x", "y"), ("x", "y")
    )
    queries = FeatureTable(
        torch.tensor([[3.0, 0.0], [0.0, 2.0]]),
        ("a", "b"),
        ("p", "q"),
        ("p", "q"),
        broken=(("r", "truncated"),),
    )
    answers = neighbours_of(gallery, queries, ["q", "r", "p"])
    assert [
        (answer.key, [(one.key, one.is_correct) for one in answer.neighbours]) for answer in answers
    ] == [
        ("q", [("y", True), ("x", False)]),
        ("p", [("x", True), ("y", False)]),
    ]
    assert [one.similarity for one in answers[0].neighbours] == pytest.approx([0.5**0.5, 0.0])


def test_a_strip_is_four_frames_at_the_evaluations_crop(parts: Any, source: VideoSource) -> None:
    strip = video_strip(parts.val[0], source, CONFIG.clip)
    assert strip.positions == (0, 14, 29, 43) and strip.num_frames == NUM_FRAMES
    expected = resize_and_centre_crop(source.frames(parts.val[0], strip.positions), CONFIG.clip)
    assert np.array_equal(
        strip.frames_NHWC, (expected.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy()
    )


def test_frames_are_spread_from_the_first_to_the_last() -> None:
    assert spread_frames(32, 6) == (0, 6, 12, 19, 25, 31)
    assert (
        spread_frames(3, 4) == (0, 1, 2)
        and spread_frames(1, 4) == (0,)
        and spread_frames(9, 1) == (4,)
    )


def test_thumbnails_shrink_and_clip() -> None:
    pictures = thumbnails(torch.full((2, 3, 112, 112), 1.7), 64)
    assert (
        pictures.shape == (2, 64, 64, 3) and pictures.dtype == np.uint8 and (pictures == 255).all()
    )


def draws_of(
    records: list[VideoRecord], policy: str = "resample", rates: tuple[int, ...] = (1, 4)
) -> list[tuple[int, int, int]]:
    clip = dataclasses.replace(CONFIG.clip, short_videos=policy)
    return [
        (draw.video_index, draw.rate, draw.start)
        for draw in choose_draws(records, range(len(records)), clip, rates, 4)
    ]


def test_samples_cycle_through_the_rates_and_take_videos_that_are_long_enough() -> None:
    records = [
        VideoRecord(key=str(number), num_bytes=1, etag="e", num_frames=frames)
        for number, frames in enumerate((8, 20, 33, 40, 50))
    ]
    assert draws_of(records) == [(0, 1, 0), (2, 4, 0), (1, 1, 6), (3, 4, 4)]
    assert draws_of(records[:2]) == [(0, 1, 0), (1, 1, 6)], (
        "a rate that no video is long enough for is left out"
    )
    assert draws_of(records[:2], "loop") == [(0, 1, 0), (1, 4, 0)], "unless videos are looped"


@pytest.mark.parametrize(
    ("rate", "upsampling", "mode"), [(1, 2, "dpau"), (4, 2, "gauss"), (2, 3, "none")]
)
def test_a_sample_shows_the_learners_own_target(
    parts: Any, source: VideoSource, rate: int, upsampling: int, mode: str
) -> None:
    slow_motion = SlowMotion(upsampling=upsampling, attention=AttentionConfig(mode=mode))
    tasks = dataclasses.replace(CONFIG.pretext, slow_motion=slow_motion)
    network = build_network(dataclasses.replace(CONFIG, pretext=tasks)).eval()
    dataset = ClipDataset(parts.train, CONFIG.clip, tasks.span_sampling(CONFIG.clip.length), 4)
    span = read_span(dataset, SampleDraw(2, rate, (1, 2, 4).index(rate), 5, 0, 0), source)
    sample = reconstruct(network, parts.train[2], span, CONFIG.clip, tasks)

    plain = dataclasses.replace(CONFIG.clip, random_crop=False, flip_probability=0.0)
    batch = build_pretext_batch(SpanBatch((span,)), plain, tasks, "cpu", (CONFIG.seed, "transform"))
    targets: SlowMotionTargets = batch.targets["slow_motion"]
    places = [frame.target for frame in sample.frames]
    target_NHWC = (
        (targets.target_BCTHW[0, :, places].permute(1, 2, 3, 0) * 255)
        .round()
        .to(torch.uint8)
        .numpy()
    )
    assert np.array_equal(sample.target_NHWC, target_NHWC), "centre crop, not mirrored"
    assert sample.clip_NHWC.shape == sample.output_NHWC.shape == (6, 32, 32, 3)
    assert [frame.supervised for frame in sample.frames] == targets.supervised_BT[
        0, places
    ].tolist()
    assert [frame.position for frame in sample.frames] == [
        5 + place * rate / upsampling for place in places
    ]
    whole = [n for n, frame in enumerate(sample.frames) if frame.target % upsampling == 0]
    assert whole and np.array_equal(sample.clip_NHWC[whole], target_NHWC[whole]), (
        "a moment of the clip is the same frame in the target"
    )
    assert (sample.num_targets, sample.num_supervised) == (
        8 * upsampling,
        int(targets.supervised_BT.sum()),
    )
    assert (sample.attention_NHW is None) == (mode == "none") and (
        mode == "none" or sample.attention_NHW.shape == (6, 32, 32)
    )
    with torch.no_grad():
        drawn_BCTHW = network(batch.clip_BCTHW)["slow_motion"]
    loss = reconstruction_loss(
        drawn_BCTHW, targets.target_BCTHW, targets.attention_BCTHW, targets.supervised_BT
    )
    assert sample.error == pytest.approx(float(loss), rel=1e-5)
    assert sample.error_of_mean > 0 and (rate != 1 or sample.error_of_repeating == 0)


def test_a_network_is_rebuilt_from_its_checkpoint_to_the_bit(tmp_path: Path) -> None:
    trained = build_network(dataclasses.replace(CONFIG, seed=5))
    folder = CheckpointFolder(LocalStore(tmp_path))
    checkpoint = folder.save(
        1,
        {"common.pt": to_bytes({"learner": {"network": trained.state_dict()}})},
        facts={},
        world=ALONE,
    )
    again = rebuild_network(CONFIG, folder, checkpoint)
    assert not again.training
    assert all(
        torch.equal(tensor, again.state_dict()[name])
        for name, tensor in trained.state_dict().items()
    )
