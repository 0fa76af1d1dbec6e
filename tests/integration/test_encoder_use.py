"""An encoder in use: embed, search and evaluate give what evaluation gives, bit for bit."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from orchestrator.commands.prp import main
from orchestrator.config.run_config import parse_config, to_tree
from orchestrator.data.open_data import open_source
from orchestrator.downstream.evaluate_splits import STATED, measure, splits_of, videos_of
from orchestrator.downstream.feature_job import FeatureJob
from orchestrator.downstream.feature_run import FeatureProgress, FeatureRun
from orchestrator.storage.feature_file import read_header, read_rows
from orchestrator.storage.manifest_file import write_manifest
from orchestrator.storage.open_store import open_store
from orchestrator.tracking import EncoderCard, load_encoder, pack
from orchestrator.tracking.encoder_file import CARD_NAME
from prp_core.data.manifest import Manifest
from prp_core.encoders import build_encoder
from prp_core.encoders.foreign_layouts import to_layout
from prp_core.errors import PrpError
from prp_core.evaluation.downstream import EvaluationVideos, evaluate_encoder
from prp_core.evaluation.evaluation_config import Evaluations
from prp_core.evaluation.features import extract_features
from prp_core.world import World
from tests.tiny_corpus import make_corpus

CONFIG = parse_config(
    {
        "encoder": {"name": "r3d_small"},
        "clip": {"length": 8, "resize_height": 36, "resize_width": 40, "crop": 32},
        "evaluation": {"views": {"num_clips": 2, "clip_length": 8}},
        "loader": {"num_decoders": 1},
        "cache": {"frames_capacity_bytes": 0},
    }
)


class Place:
    """A corpus with its manifest, and an encoder in a folder."""

    def __init__(self, root: Path) -> None:
        parts = make_corpus(root / "videos", num_train=6, num_val=4)
        train = tuple(replace(record, split="train") for record in parts.train)
        test = tuple(replace(record, split="test") for record in parts.val)
        self.videos = root / "videos"
        self.manifest = Manifest(self.videos.as_uri(), (*train, *test))
        self.manifest_uri = write_manifest(self.manifest, open_store(root / "manifests"))
        self.encoder = self.write_encoder(root / "encoder", seed=1)
        self.other = self.write_encoder(root / "other", seed=2)

    def write_encoder(self, folder: Path, seed: int) -> str:
        torch.manual_seed(seed)
        weights = build_encoder("r3d_small").state_dict()
        for name, data in pack(
            weights, EncoderCard(encoder="r3d_small", config=to_tree(CONFIG))
        ).items():
            folder.mkdir(exist_ok=True)
            (folder / name).write_bytes(data)
        return str(folder)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("use"))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PRP_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_embed_gives_the_features_of_evaluation_and_search_finds_a_video_itself(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "features.parquet"
    words = ("embed", place.manifest_uri, "--model", place.encoder, "--out", str(out))
    made = answer(capsys, *words)
    assert (made["num_videos"], made["broken"], made["was_made_before"]) == (10, [], False)
    assert not out.with_name(f"{out.name}.unfinished").exists()
    assert answer(capsys, *words)["was_made_before"]

    store = open_store(place.videos)
    source = open_source(store, place.manifest, CONFIG, World.alone())
    encoder = load_encoder(place.encoder).encoder
    records = place.manifest.usable()
    views = CONFIG.evaluation.views
    table = extract_features(encoder, records, source, CONFIG.clip, views, World.alone())
    source.close()
    rows = list(read_rows(out))
    assert [fact["key"] for facts, _ in rows for fact in facts] == list(table.keys)
    assert {fact["split"] for facts, _ in rows for fact in facts} == {"train", "test"}
    features_ND = np.concatenate([features for _, features in rows])
    assert np.array_equal(features_ND, table.features_ND.numpy())
    assert read_header(out).about["model"] == place.encoder

    video = str(place.videos / records[3].key)
    found = answer(capsys, "search", video, "--index", str(out), "--top", "3")
    nearest = found["neighbours"]
    assert found["exact"] and len(nearest) == 3 and nearest[0]["key"] == records[3].key
    assert nearest[0]["similarity"] == pytest.approx(1, abs=1e-5)
    assert [one["similarity"] for one in nearest] == sorted(
        (one["similarity"] for one in nearest), reverse=True
    )
    assert len(list(tmp_path.glob("features.*.usearch"))) == 1
    assert main(["search", video, "--index", str(out), "--model", place.other]) == 2
    assert "was made by another encoder than" in capsys.readouterr().err


def test_evaluate_measures_what_a_sweep_measures_on_its_test_part(
    place: Place, capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    found = answer(capsys, "evaluate", place.encoder, "--data", place.manifest_uri, "--baselines")
    (split,) = splits_of(place.manifest, None, (), val_fraction=0.2, seed=CONFIG.seed)
    with_videos = open_source(open_store(place.videos), place.manifest, CONFIG, World.alone())
    expected = evaluate_encoder(
        load_encoder(place.encoder).encoder,
        CONFIG,
        EvaluationVideos(split.gallery, split.queries, with_videos),
        World.alone(),
        is_final=True,
    )
    with_videos.close()
    results = {one["describer"]: one for one in found["results"]}
    assert results["encoder"]["metrics"] == expected
    assert (results["encoder"]["split"], found["is_published_protocol"]) == (STATED, False)
    assert set(results) == {"encoder", "random_init", "mean_frame", "mean_absolute_difference"}
    assert len({one["protocol_hash"] for one in found["results"]}) == 1
    assert found["published"]["rows"] == [] and found["broken"] == []
    assert list((home / "evaluations").glob("*")) == [], "what was made of it is whole"


def test_official_weights_are_evaluated_on_published_splits_beside_the_papers(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(5)
    checkpoint = tmp_path / "best_model_1.pth.tar"
    torch.save(to_layout("official", "r3d", build_encoder("r3d").state_dict()), checkpoint)
    folder = Path(answer(capsys, "import-official", str(checkpoint), "--encoder", "r3d")["folder"])
    card = json.loads((folder / CARD_NAME).read_text())
    assert (
        card["config"]["evaluation"]["views"] | {"num_clips": 10, "clip_length": 16}
        == (card["config"]["evaluation"]["views"])
    ), "as published"
    tiny = to_tree(CONFIG)  # 1,000 times fewer pixels than the published protocol has
    card["config"] |= {name: tiny[name] for name in ("clip", "evaluation")}
    (folder / CARD_NAME).write_text(json.dumps(card))
    lists = tmp_path / "lists"
    lists.mkdir()
    keys = [record.key for record in place.manifest.usable()]
    for number in (1, 2):
        asked = keys[number - 1 :: 3]
        for name, names in (("test", asked), ("train", [key for key in keys if key not in asked])):
            (lists / f"{name}list0{number}.txt").write_text("".join(f"{key}\n" for key in names))
    words = ("evaluate", str(folder), "--data", place.manifest_uri, "--splits", str(lists))
    found = answer(capsys, *words, "--published", "ucf101", "--no-probe")
    results = found["results"]
    assert [(one["split"], one["describer"]) for one in results] == [
        ("1", "encoder"),
        ("2", "encoder"),
    ]
    recalls = [one["metrics"]["retrieval/recall_at_1"] for one in results]
    assert found["means"]["encoder"]["retrieval/recall_at_1"] == pytest.approx(sum(recalls) / 2)
    assert len({one["protocol_hash"] for one in results}) == 2, "other videos, another protocol"
    assert not found["is_published_protocol"] and found["encoder"] == "r3d"
    first = [row for row in found["published"]["rows"] if "PRP" in json.dumps(row)]
    assert {"23.2", "22.8", "20.3"} <= set(re.findall(r"\d+\.\d", json.dumps(first)))


def test_a_run_resumes_with_the_pieces_that_are_finished_and_refuses_a_damaged_one(
    place: Place, tmp_path: Path
) -> None:
    encoder = load_encoder(place.encoder)
    files = {path.name: path.read_bytes() for path in Path(place.encoder).iterdir()}
    job = FeatureJob(
        encoder_uri="",
        encoder_name="r3d_small",
        weights_sha256="w",
        data_uri=place.manifest.uri,
        place_uri=str(tmp_path / "place"),
        clip=encoder.clip,
        views=encoder.views,
        loader=CONFIG.loader,
        store=CONFIG.store,
    )
    splits = splits_of(place.manifest, None, (), val_fraction=0.2, seed=1)
    work = FeatureRun(job, videos_of(splits), num_videos_of_piece=4)
    said: list[FeatureProgress] = []
    work.run(files, on_progress=said.append)
    assert [one.num_done for one in said] == [0, 4, 8, 10]
    first, second, _ = (tmp_path / "place" / piece.key for piece in work.pieces)
    second.unlink()
    before = first.stat().st_mtime_ns
    said.clear()
    work.run(files, on_progress=said.append)
    assert [(one.num_done, one.num_reused) for one in said] == [(6, 6), (10, 6)]
    assert first.stat().st_mtime_ns == before
    found, broken = measure(work, splits, Evaluations(views=encoder.views, linear_probe=None))
    assert broken == [] and 0 <= found[0].metrics["retrieval/recall_at_1"] <= 1

    other = replace(job, weights_sha256="other")
    assert FeatureRun(other, work.records).digest != work.digest
    first.write_bytes(first.read_bytes()[:-9])
    with pytest.raises(PrpError, match="was damaged .* and is removed; run the command again"):
        list(work.read())
    assert not first.exists()
    work.remove()
    assert not (tmp_path / "place").exists()
