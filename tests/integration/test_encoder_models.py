"""Encoders in a real MLflow: stored, ranked, registered, loaded, and refused when damaged."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient

from orchestrator.journal.sweep_folder import open_sweep_folder
from orchestrator.tracking import DamagedEncoder, EncoderCard, MlflowTracker, load_encoder, pack
from orchestrator.tracking.models import log_encoder_files
from orchestrator.tracking.registered_models import Measured, register_model
from orchestrator.tracking.run_names import SWEEP_RUN, trial_run
from orchestrator.tracking.run_start import RunStart
from prp_core.encoders import build_encoder
from prp_core.errors import UserError
from tests.fixtures_mlflow import MlflowServer
from tests.tools.fault_proxy import FaultProxy
from tests.tools.track_points import tracker_of


@pytest.fixture
def tracker(
    mlflow_server: MlflowServer, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[MlflowTracker]:
    tracker = tracker_of(mlflow_server.uri, request.node.name, "s1", tmp_path)
    tracker.start(SWEEP_RUN, RunStart(params={}))
    yield tracker
    tracker.close(5)


@pytest.fixture
def client(mlflow_server: MlflowServer) -> Any:
    return MlflowClient(mlflow_server.uri, mlflow_server.uri)


def log_encoder(
    client: Any, tracker: MlflowTracker, seed: int, run: str = SWEEP_RUN, **logged: Any
) -> str:
    """The id of the model of the encoder of that seed, logged in `run`."""
    assert tracker.flush(60)
    values = {"name": "encoder", "metrics": {}, "step": 0, "tags": {}, **logged}
    return log_encoder_files(client, tracker.run_id(run), packed_encoder(seed)[1], **values)


def packed_encoder(seed: int) -> tuple[torch.nn.Module, dict[str, bytes]]:
    torch.manual_seed(seed)
    encoder = build_encoder("r3d_small").to(memory_format=torch.channels_last_3d).eval()
    return encoder, pack(
        encoder.state_dict(),
        EncoderCard(
            encoder="r3d_small",
            config={"clip": {"crop": 32}, "seed": seed},
            protocol_hash="abc",
        ),
    )


def measured(value: float, protocol_hash: str = "abc") -> Measured:
    return Measured(metric="retrieval/recall_at_1", value=value, protocol_hash=protocol_hash)


def test_best_never_moves_to_what_is_worse_or_was_measured_otherwise(
    tracker: MlflowTracker, mlflow_server: MlflowServer, client: Any
) -> None:
    models = [log_encoder(client, tracker, seed) for seed in range(5)]

    def best() -> str:
        return str(client.get_model_version_by_alias("prp-alias", "best").version)

    first, worse, other, equal, old = (
        register_model(client, model_id, "prp-alias", how)
        for model_id, how in zip(
            models,
            (
                measured(0.6),
                measured(0.5),
                measured(0.9, "another protocol"),
                measured(0.6),
                measured(0.7),
            ),
            strict=True,
        )
    )
    assert first.is_best and not worse.is_best and not other.is_best
    assert worse.line() == (
        "models:/prp-alias/2; models:/prp-alias@best does not point at it: version 1 is better "
        "(retrieval/recall_at_1 0.6, this one 0.5)"
    )
    assert "measured otherwise (retrieval/recall_at_1 by protocol abc; this one" in other.reason
    assert equal.is_best and old.is_best, "what is at least as good takes the alias"
    assert best() == "5"

    contradicted = dataclasses.replace(measured(0.7), objection="it is worse than no training")
    refused = register_model(client, models[4], "prp-alias", contradicted)
    assert not refused.is_best and refused.reason == "it is worse than no training"
    assert "best" not in client.get_registered_model("prp-alias").aliases, "taken from it"
    version = client.get_model_version("prp-alias", "5")
    assert version.tags["prp.objection"] == "it is worse than no training"
    assert register_model(client, models[4], "prp-alias", measured(0.7)).is_best

    again = register_model(client, models[1], "prp-alias", measured(0.5))
    assert (again.version, again.is_best, best()) == ("2", False, "5")
    for tag in ("prp.metric", "prp.metric_value", "prp.protocol_hash"):  # of an earlier release
        client.delete_model_version_tag("prp-alias", "5", tag)
    assert (
        "nobody recorded how" in register_model(client, models[1], "prp-alias", measured(1)).reason
    )


def test_the_best_encoder_loads_in_three_lines_with_equal_weights(
    tracker: MlflowTracker, mlflow_server: MlflowServer, client: Any
) -> None:
    models = []
    for number, recall in enumerate((0.4, 0.6)):
        run = trial_run(number)
        tracker.start(run, RunStart(params={}))
        encoder, _ = packed_encoder(number)
        for _ in range(2):  # the second changes nothing
            scores = {"retrieval/recall_at_1": recall}
            model_id = log_encoder(
                client, tracker, number, run, metrics=scores, step=7, tags={"a": "b"}
            )
            registered = register_model(client, model_id, "prp-test", measured(recall))
            assert registered.line() == "models:/prp-test@best"
        models.append((model_id, registered.version, encoder, tracker.run_id(run)))

    order = [{"field_name": "metrics.retrieval/recall_at_1", "ascending": False}]
    experiment = client.get_run(models[0][3]).info.experiment_id
    found = client.search_logged_models([experiment], order_by=order)
    assert [model.model_id for model in found] == [models[1][0], models[0][0]]
    assert [(point.key, point.value, point.step) for point in found[0].metrics] == [
        ("retrieval/recall_at_1", 0.6, 7)
    ]
    assert str(found[0].status) == "READY"
    assert found[0].tags["a"] == "b"
    assert [output.model_id for output in client.get_run(models[1][3]).outputs.model_outputs] == [
        models[1][0]
    ]
    assert len(client.search_model_versions("name='prp-test'")) == 2

    clip_BCTHW = torch.rand(2, 3, 16, 32, 32)
    for uri, (_, _, encoder, _) in (
        ("models:/prp-test@best", models[1]),
        (f"models:/prp-test/{models[0][1]}", models[0]),
        ("models:/prp-test/latest", models[1]),
        (f"runs:/{models[0][3]}", models[0]),
        (f"models:/{models[1][0]}", models[1]),
    ):
        loaded = load_encoder(uri, mlflow_server.uri)
        assert not loaded.training
        with torch.no_grad():
            assert torch.equal(loaded(clip_BCTHW), encoder(clip_BCTHW))


def test_a_model_that_is_not_there_is_named_with_those_that_are(
    tracker: MlflowTracker, mlflow_server: MlflowServer, client: Any
) -> None:
    register_model(client, log_encoder(client, tracker, 0), "prp-there", measured(0.5))
    with pytest.raises(
        UserError, match=r"No 'models:/prp-gone@best' at http.*registered there: .*prp-there"
    ):
        load_encoder("models:/prp-gone@best", mlflow_server.uri)


def test_bytes_that_changed_in_the_artifact_store_are_refused(
    tracker: MlflowTracker, mlflow_server: MlflowServer, client: Any
) -> None:
    model_id = log_encoder(client, tracker, 5)
    (weights,) = mlflow_server.folder.glob(f"artifacts/**/{model_id}/**/encoder.safetensors")
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(
        DamagedEncoder, match=r"encoder\.safetensors is not the one that was stored"
    ):
        load_encoder(f"models:/{model_id}", mlflow_server.uri)
    weights.unlink()
    with pytest.raises(DamagedEncoder, match=r"encoder\.safetensors missing at"):
        load_encoder(f"models:/{model_id}", mlflow_server.uri)
    (weights.parent / "encoder.json").unlink()
    with pytest.raises(UserError, match="where there is nothing: its artifact store was moved"):
        load_encoder(f"models:/{model_id}", mlflow_server.uri)


def check_another_is_ranked_and_not_registered(tracker: MlflowTracker, client: Any) -> None:
    """A trial beside the winner: its encoder is a logged model of its run, and no version."""
    tracker.start(trial_run(4), RunStart(params={}))
    scores = {"retrieval/recall_at_1": 0.5}
    tracker.register_encoder(
        trial_run(4), "encoder/0003", "prp-later", None, metrics=scores, step=12, tags={}
    )
    tracker.describe_encoder(trial_run(3), "prp-later", "what it is")
    assert tracker.flush(60)
    experiment = client.get_run(tracker.run_id(SWEEP_RUN)).info.experiment_id
    order = [{"field_name": "metrics.retrieval/recall_at_1", "ascending": False}]
    found = client.search_logged_models([experiment], order_by=order)
    assert [model.source_run_id for model in found] == [
        tracker.run_id(trial_run(number)) for number in (3, 4)
    ]
    (version,) = client.search_model_versions("name='prp-later'")
    assert version.description == found[0].tags["mlflow.note.content"] == "what it is"
    assert client.get_run(tracker.run_id(SWEEP_RUN)).data.tags["prp.winner"] == "3"


def test_an_encoder_that_mlflow_cannot_take_yet_is_registered_by_the_next_tracker(
    mlflow_server: MlflowServer, client: Any, tmp_path: Path
) -> None:
    encoder, files = packed_encoder(9)
    folder = open_sweep_folder(str(tmp_path), "s1").store
    for name, data in files.items():
        folder.write(f"encoder/0003/{name}", data)
    with FaultProxy(mlflow_server.uri) as proxy:
        proxy.add("status", code=404, path="logged-models")  # as servers before 3.0 answer
        tracker = tracker_of(proxy.url, "later", "s1", tmp_path)
        tracker.start(SWEEP_RUN, RunStart(params={}))
        tracker.start(trial_run(3), RunStart(params={}))
        tracker.register_encoder(
            trial_run(3),
            "encoder/0003",
            "prp-later",
            measured(0.7),
            metrics={"retrieval/recall_at_1": 0.7},
            step=12,
            tags={"a": "b"},
        )
        tracker.finish_all("finished")
        left = tracker.close()
        assert tracker.registered(trial_run(3)) is None
        assert left.num_records == 1 and "the encoder cannot be stored" in left.reason
        proxy.clear()
        later = tracker_of(proxy.url, "later", "s1", tmp_path)
        assert later.flush(60)
        check_another_is_ranked_and_not_registered(later, client)
    registered = later.registered(trial_run(3))
    assert registered is not None and registered.line() == "models:/prp-later@best"
    parent = client.get_run(later.run_id(SWEEP_RUN))
    assert parent.data.tags["prp.winner"] == "3"
    assert parent.data.tags["prp.model"] == registered.uri
    assert later.close().num_records == 0
    clip_BCTHW = torch.rand(1, 3, 16, 32, 32)
    with torch.no_grad():
        loaded = load_encoder("models:/prp-later@best", mlflow_server.uri)
        assert torch.equal(loaded(clip_BCTHW), encoder(clip_BCTHW))
