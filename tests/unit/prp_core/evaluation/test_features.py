"""Views, features, baselines and recognition on real videos, against slow transcriptions."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from orchestrator.config.run_config import load_config
from orchestrator.data.pixel_facts import pixel_facts
from prp_core.data.clip_config import ClipConfig
from prp_core.data.manifest import Parts
from prp_core.data.object_store import LocalStore
from prp_core.data.video_source import VideoSource
from prp_core.encoders.encoder_config import EncoderConfig
from prp_core.errors import BrokenVideo, UserError
from prp_core.evaluation.baselines import (
    BASELINES,
    evaluate_baselines,
    mean_absolute_difference,
    mean_frame,
)
from prp_core.evaluation.class_check import check_labels
from prp_core.evaluation.decode_ahead import decode_ahead
from prp_core.evaluation.downstream import EvaluationVideos, evaluate_encoder
from prp_core.evaluation.evaluation_config import Evaluations, RecognitionConfig
from prp_core.evaluation.features import extract_features, extract_tables
from prp_core.evaluation.linear_probe import LinearProbe
from prp_core.evaluation.protocol import Measurement, protocol_hashes
from prp_core.evaluation.recognition import Recogniser, batch_sizes
from prp_core.evaluation.retrieval import Retrieval
from prp_core.evaluation.time_panel import TimePanel
from prp_core.evaluation.views import ViewsConfig, view_positions
from prp_core.pretext.network import build_network
from prp_core.reporting import MemoryReporter
from prp_core.training.checkpoint import CheckpointFolder
from prp_core.training.fine_tuning import fine_tune
from prp_core.training.pretrain_config import PretrainConfig
from prp_core.world import World
from tests.tiny_corpus import LOADER, NUM_FRAMES, make_corpus, open_source
from tests.worker_group import run_workers

ALONE = World.alone()
CLIP = ClipConfig(length=8, resize_height=36, resize_width=40, crop=32)
VIEWS = ViewsConfig(num_clips=3, clip_length=8)
CONFIG = PretrainConfig(
    encoder=EncoderConfig(name="c3d_small"),
    clip=CLIP,
    evaluation=Evaluations(views=VIEWS, retrieval=Retrieval(ks="1-2")),
    loader=LOADER,
    seed=4,
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    make_corpus(folder, num_train=8, num_val=6)
    return folder


@pytest.fixture(scope="module")
def source(corpus: Path) -> Iterator[VideoSource]:
    with open_source(corpus) as source:
        yield source


@pytest.fixture(scope="module")
def parts(corpus: Path) -> Parts:
    return make_corpus(corpus, num_train=0, num_val=0)


def encoder() -> nn.Module:
    return build_network(CONFIG).encoder


@pytest.mark.parametrize(
    ("num_frames", "starts"),
    [
        (29, [0, 1, 2, 4, 5, 7, 8, 10, 11, 13]),
        (100, [0, 9, 18, 28, 37, 46, 56, 65, 74, 84]),
        (300, [0, 31, 63, 94, 126, 157, 189, 220, 252, 284]),
    ],
)
def test_views_are_the_published_ones(num_frames: int, starts: list[int]) -> None:
    assert view_positions(num_frames, ViewsConfig()) == tuple(
        tuple(range(start, start + 16)) for start in starts
    )


def test_a_short_video_repeats_its_last_frame() -> None:
    assert (
        view_positions(5, ViewsConfig(num_clips=2, clip_length=8))
        == ((0, 1, 2, 3, 4, 4, 4, 4),) * 2
    )


def test_features_are_the_literal_ones(source: VideoSource, parts: Parts) -> None:
    """Each clip is decoded for itself and each feature pooled by hand; extraction decodes once for
    all clips.
    """
    network = encoder()
    table = extract_features(network, parts.val, source, CLIP, VIEWS, ALONE)
    record = parts.val[2]
    clip_features = []
    for start in (0, (NUM_FRAMES - 8) // 2, NUM_FRAMES - 8):
        frames = source.frames(record, range(start, start + 8)).permute(0, 3, 1, 2)
        resized = (
            nn.functional.interpolate(frames, (36, 40), mode="bilinear", antialias=True)
            .float()
            .round()
            / 255
        )
        map_CTHW = network.eval()(resized[:, :, 2:34, 4:36].transpose(0, 1)[None])[0].detach()
        clip_features.append(map_CTHW.amax(dim=(2, 3)).flatten())
    torch.testing.assert_close(
        table.features_ND[2], torch.stack(clip_features).mean(0), rtol=1e-4, atol=1e-5
    )
    assert table.keys == tuple(record.key for record in parts.val) and table.broken == ()
    assert (
        table.labels == tuple(key.split("/")[0] for key in table.keys)
        and table.groups == table.keys
    )


def test_extraction_leaves_the_encoder_as_it_was(source: VideoSource, parts: Parts) -> None:
    network = encoder().train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    table = extract_features(network, parts.val[:1], source, CLIP, VIEWS, ALONE)
    assert network.training and all(module.training for module in network.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert not table.features_ND.requires_grad


def test_the_size_of_a_batch_does_not_matter(source: VideoSource, parts: Parts) -> None:
    first, second = (
        extract_features(
            encoder(),
            parts.val[:2],
            source,
            CLIP,
            dataclasses.replace(VIEWS, batch_size=size),
            ALONE,
        ).features_ND
        for size in (1, 32)
    )
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-6)


def test_broken_videos_have_no_row_and_are_named(tmp_path: Path) -> None:
    make_corpus(tmp_path, num_train=4, num_val=0)
    parts = make_corpus(tmp_path, num_train=0, num_val=0)
    (tmp_path / parts.train[1].key).write_bytes(
        b"not a video any more, and long enough to be looked at" * 10
    )
    with open_source(tmp_path) as source:
        table = extract_features(encoder(), parts.train, source, CLIP, VIEWS, ALONE)
        assert len(table) == 3 and table.broken == ((parts.train[1].key, "changed"),)
        with pytest.raises(
            UserError, match="none of 1 videos can be evaluated; the first: .*changed"
        ):
            extract_features(encoder(), parts.train[1:2], source, CLIP, VIEWS, ALONE)


def test_pixel_baselines_by_hand() -> None:
    clips_BCTHW = torch.zeros(1, 3, 4, 56, 56)
    clips_BCTHW[0, 0, :, 0, 0] = torch.tensor([0.0, 1.0, 0.0, 1.0])
    frame, difference = mean_frame(clips_BCTHW), mean_absolute_difference(clips_BCTHW)
    assert frame.shape == difference.shape == (1, 3, 28, 28)
    assert frame[0, 0, 0, 0] == pytest.approx(0.5 / 4) and difference[0, 0, 0, 0] == pytest.approx(
        1.0 / 4
    )
    assert frame.sum() == pytest.approx(0.125) and difference.sum() == pytest.approx(0.25)
    assert mean_frame(torch.zeros(1, 3, 4, 20, 30)).shape == (1, 3, 20, 28)


def test_baselines_see_the_same_videos_and_questions(source: VideoSource, parts: Parts) -> None:
    videos = EvaluationVideos(parts.train, parts.val, source)
    metrics = evaluate_baselines(CONFIG, videos, ALONE, is_final=True)
    assert (
        {name.split("/")[0] for name in metrics}
        == set(BASELINES)
        == {"random_init", "mean_frame", "mean_absolute_difference"}
    )
    measured = evaluate_encoder(encoder(), CONFIG, videos, ALONE, is_final=True)
    ours = {
        name.removeprefix("random_init/"): value
        for name, value in metrics.items()
        if name.startswith("random_init/")
    }
    assert ours == pytest.approx(measured), "random_init is the encoder that training starts from"
    table = extract_tables(
        {"mean": lambda clips: mean_frame(clips).flatten(1)},
        parts.val[:1],
        source,
        CLIP,
        VIEWS,
        ALONE,
    )["mean"]
    positions = view_positions(NUM_FRAMES, VIEWS)
    frames = source.frames(
        parts.val[0], [position for clip in positions for position in clip]
    ).permute(0, 3, 1, 2)
    resized = (
        nn.functional.interpolate(frames, (36, 40), mode="bilinear", antialias=True).float().round()
        / 255
    )
    expected = nn.functional.adaptive_avg_pool2d(resized[:, :, 2:34, 4:36].mean(0), 28).flatten()
    torch.testing.assert_close(table.features_ND[0], expected, rtol=1e-4, atol=1e-5)


def test_labels_are_asked_for_in_one_line(parts: Parts) -> None:
    nameless = (dataclasses.replace(parts.val[0], label=None), *parts.val[1:])
    with pytest.raises(
        UserError, match="5 of 6 query videos have one, for example 'down/val-00.mp4' has none"
    ):
        check_labels(parts.train, nameless)
    with pytest.raises(UserError, match="0 of 0 gallery videos"):
        check_labels((), parts.val)
    elsewhere = tuple(dataclasses.replace(record, label="other") for record in parts.val)
    with pytest.raises(UserError, match="no query's class is among the gallery's 2 classes"):
        check_labels(parts.train, elsewhere)


def test_the_protocol_is_what_two_numbers_must_share_and_nothing_else(parts: Parts) -> None:
    def hashes(encoder: str = "c3d_small", seed: int = 4, **changed: Any) -> dict[str, str]:
        own = {
            "clip": CLIP,
            "evaluations": CONFIG.evaluation,
            "pixels": {"decoder": "pyav"},
            "gallery": parts.train,
            "queries": parts.val,
        }
        measurement = Measurement(**(own | changed))  # type: ignore[arg-type]
        return protocol_hashes(measurement, "retrieval", encoder=encoder, seed=seed)

    def differing(**changed: Any) -> set[str]:
        now = hashes(**changed)
        return {name for name, value in hashes().items() if now.get(name) != value}

    def evaluations(**changed: Any) -> Evaluations:
        return dataclasses.replace(CONFIG.evaluation, **changed)

    of_probe = {"linear_probe", "baseline.linear_probe"}
    every = {"", "baseline", *of_probe, "recognition", "time_panel"}
    assert set(hashes()) == every and len(set(hashes().values())) == 6
    assert {len(value) for value in hashes().values()} == {12}
    known = tuple(dataclasses.replace(one, sha256=f"sha of {one.key}") for one in parts.val)
    renamed = tuple(dataclasses.replace(one, key=f"x/{one.key}") for one in known)
    assert hashes(queries=known) == hashes(queries=renamed), "a name decides nothing"
    for changed in (
        {"queries": parts.val[::-1]},
        {"clip": dataclasses.replace(CLIP, length=16, random_crop=True)},
        {"evaluations": evaluations(views=dataclasses.replace(VIEWS, batch_size=5))},
        {"evaluations": evaluations(retrieval=Retrieval(ks="1-3"))},
    ):
        assert differing(**changed) == set(), f"{changed} decides nothing"
    relabelled = (dataclasses.replace(parts.val[0], label="other"), *parts.val[1:])
    for changed in (
        {"clip": dataclasses.replace(CLIP, crop=16)},
        {"evaluations": evaluations(views=ViewsConfig())},
        {"queries": parts.val[1:]},
        {"queries": relabelled},
        {"gallery": parts.train[1:]},
        {"pixels": {"decoder": "decord"}},
    ):
        assert differing(**changed) == every, f"{changed} decides every figure"
    probe = evaluations(linear_probe=LinearProbe(weight_decay=0.5))
    assert differing(evaluations=probe) == of_probe
    panel = evaluations(time_panel=TimePanel(max_videos=9))
    assert differing(evaluations=panel) == {"time_panel"}
    constraint = evaluations(time_panel=TimePanel(least_share=0.5))
    assert differing(evaluations=constraint) == set(), "it judges a figure and makes none"
    recipe = evaluations(recognition=RecognitionConfig(num_epochs=3))
    assert differing(evaluations=recipe) == {"recognition"}
    of_baselines = {"baseline", "baseline.linear_probe"}
    assert differing(seed=5) == differing(encoder="r3d_small") == of_baselines


@pytest.mark.parametrize(
    ("uses_gpu", "settings", "decides"),
    [
        (False, ["loader.reader=decord"], True),
        (True, ["loader.reader=decord"], True),
        (False, ["loader.max_carried_pixels=0"], False),
        (True, ["loader.max_carried_pixels=0"], False),  # the node's cache resizes on the CPU
        (True, ["loader.max_carried_pixels=0", "cache.frames_capacity_bytes=0"], True),
        (True, ["cache.frames_capacity_bytes=0"], True),
        (False, ["cache.frames_capacity_bytes=0"], False),
        (True, ["loader.colour=device"], True),
        (False, ["loader.colour=device"], False),
        (True, ["loader.decode_jpegs_on=device"], False),
        (True, ["loader.num_decoders=1", "loader.decode_timeout_seconds=9"], False),
        (True, ["clip.length=24", "training.num_epochs=9", "seed=7"], False),
    ],
)
def test_what_decides_pixels_is_in_the_protocol_and_what_does_not_is_out(
    tmp_path: Path, uses_gpu: bool, settings: list[str], decides: bool
) -> None:
    def facts(more: list[str]) -> dict[str, object]:
        return pixel_facts(str(tmp_path), load_config("demo", more), uses_gpu=uses_gpu)

    uncached = ["cache.frames_capacity_bytes=0"] if len(settings) > 1 and decides else []
    assert (facts(settings) != facts(uncached)) == decides


def test_reading_ahead_keeps_the_order_and_hands_over_the_broken() -> None:
    def read(item: int) -> int:
        if item % 3 == 0:
            raise BrokenVideo(str(item), "empty")
        return item * item

    results = list(decode_ahead(range(20), read, 3))
    assert [item for item, _ in results] == list(range(20))
    assert all(
        isinstance(value, BrokenVideo) if item % 3 == 0 else value == item * item
        for item, value in results
    )


def test_reading_ahead_stops_with_its_reader_and_raises_other_errors() -> None:
    seen: list[int] = []
    reads = decode_ahead(range(1000), seen.append, 2)
    next(reads)
    reads.close()  # type: ignore[attr-defined]
    assert len(seen) <= 6 and not [
        thread for thread in threading.enumerate() if thread.name.startswith("decode-ahead")
    ]
    with pytest.raises(ZeroDivisionError):
        list(decode_ahead([1, 0], lambda item: 1 // item, 1))


def tuned_for(num_epochs: int) -> PretrainConfig:
    recognition = RecognitionConfig(
        num_epochs=num_epochs, drop_epoch=7, batch_size=4, learning_rate=0.02
    )
    evaluations = dataclasses.replace(CONFIG.evaluation, recognition=recognition)
    return dataclasses.replace(CONFIG, evaluation=evaluations, seed=0)


def test_recognition_takes_the_mean_of_the_logits(source: VideoSource, parts: Parts) -> None:
    torch.manual_seed(0)
    network = Recogniser(encoder(), 2).eval()
    assert network.linear.in_features == 64 and len(list(network.linear.parameters())) == 2
    table = extract_tables({"logits": network}, parts.val[:1], source, CLIP, VIEWS, ALONE)["logits"]
    logits = []
    for positions in view_positions(NUM_FRAMES, VIEWS):
        frames = source.frames(parts.val[0], positions).permute(0, 3, 1, 2)
        resized = (
            nn.functional.interpolate(frames, (36, 40), mode="bilinear", antialias=True)
            .float()
            .round()
            / 255
        )
        features = network.encoder(resized[:, :, 2:34, 4:36].transpose(0, 1)[None]).mean(
            dim=(2, 3, 4)
        )
        logits.append((features @ network.linear.weight.T + network.linear.bias).detach()[0])
    torch.testing.assert_close(
        table.features_ND[0], torch.stack(logits).mean(0), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    ("num_videos", "batch", "workers", "sizes"),
    [
        (16, 8, 1, [8, 8]),
        (19, 8, 1, [8, 8, 3]),
        (17, 8, 1, [8, 9]),
        (19, 8, 2, [8, 11]),
        (20, 8, 2, [8, 8, 4]),
        (3, 8, 1, [3]),
    ],
)
def test_no_video_is_dropped_and_no_worker_goes_without(
    num_videos: int, batch: int, workers: int, sizes: list[int]
) -> None:
    assert batch_sizes(num_videos, batch, workers) == sizes


def work(world: World, corpus: str, folder: str) -> dict[str, Any]:
    """What one of two workers makes of the corpus."""
    parts = make_corpus(Path(corpus), num_train=0, num_val=0)
    with open_source(Path(corpus)) as source:
        table = extract_features(encoder(), parts.train[:5], source, CLIP, VIEWS, world)
        reporter = MemoryReporter()
        videos = EvaluationVideos(parts.train[:7], parts.val, source)
        tuned = fine_tune(
            encoder(),
            tuned_for(1),
            videos,
            world,
            checkpoints=CheckpointFolder(LocalStore(folder)),
            reporter=reporter,
        )
    return {
        "features": table.features_ND,
        "keys": list(table.keys),
        "tuned": dict(tuned.metrics),
        "num_logged": len(reporter.logged),
    }


def test_two_workers_share_the_videos_and_know_the_same(
    corpus: Path, source: VideoSource, parts: Parts, tmp_path: Path
) -> None:
    first, second = run_workers(work, tmp_path / "group", str(corpus), str(tmp_path / "kept"))
    alone = extract_features(encoder(), parts.train[:5], source, CLIP, VIEWS, ALONE)
    assert first["keys"] == second["keys"] == list(alone.keys)
    assert torch.equal(first["features"], second["features"])
    torch.testing.assert_close(first["features"], alone.features_ND, rtol=1e-5, atol=1e-6)
    assert first["tuned"] == second["tuned"] and first["tuned"]["recognition/num_videos"] == 6
    assert (first["num_logged"], second["num_logged"]) == (2, 0)
