"""`prp finetune` and `prp embed` killed while they work, and taken up again by the same command.

    uv run pytest -s -m campaign tests/campaigns/test_kill_downstream.py

``PRP_NUM_STRIKES`` is the number of kills of each test, ``PRP_NEMESIS_SEED`` draws other times.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient

from orchestrator.config.run_config import parse_config, to_tree
from orchestrator.storage.manifest_file import write_manifest
from orchestrator.storage.open_store import open_store
from orchestrator.tracking import EncoderCard, pack
from prp_core.data.manifest import Manifest
from prp_core.encoders import build_encoder
from prp_core.training.checkpoint_record import newest_step
from tests.fixtures_mlflow import MlflowServer
from tests.sweep_check import points_of
from tests.tiny_corpus import make_corpus
from tests.tools.study_process import REPOSITORY, StudyProcess

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(3600)]

NUM_STRIKES = int(os.environ.get("PRP_NUM_STRIKES", "20"))
SEED = int(os.environ.get("PRP_NEMESIS_SEED", "0"))
LONGEST_SECONDS = 900.0
COMMAND = REPOSITORY / "orchestrator" / "__main__.py"
EXPERIMENT = "prp-finetune"
TASK = "ray::_describe_and_count"
CONFIG = parse_config(
    {
        "encoder": {"name": "c3d_small"},
        "clip": {"length": 8, "resize_height": 36, "resize_width": 40, "crop": 32},
        "evaluation": {"views": {"num_clips": 1, "clip_length": 8}},
    }
)


@dataclass(frozen=True)
class Place:
    """An encoder, and labelled videos by their manifest."""

    encoder: str
    videos: str


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    root = tmp_path_factory.mktemp("place")
    torch.manual_seed(1)
    files = pack(
        build_encoder("c3d_small").state_dict(),
        EncoderCard(encoder="c3d_small", config=to_tree(CONFIG)),
    )
    (root / "encoder").mkdir()
    for name, data in files.items():
        (root / "encoder" / name).write_bytes(data)
    parts = make_corpus(root / "videos", num_train=200, num_val=8)
    records = (
        *(replace(record, split="train") for record in parts.train),
        *(replace(record, split="test") for record in parts.val),
    )
    manifest = Manifest((root / "videos").as_uri(), records)
    return Place(str(root / "encoder"), write_manifest(manifest, open_store(root / "manifests")))


@contextmanager
def started(home: Path, words: list[str]) -> Iterator[StudyProcess]:
    """``prp`` with `words` in a process of its own."""
    with StudyProcess(home, words, script=COMMAND) as process:
        yield process


def wait_until(process: StudyProcess, what: Callable[[], bool]) -> bool:
    """Wait until `what()` is true; False: the process ended before."""
    deadline = time.monotonic() + LONGEST_SECONDS
    while process.process.poll() is None:
        if what():
            return True
        assert time.monotonic() < deadline, process.output[-3000:]
        time.sleep(0.02)
    return False


def test_fine_tuning_is_killed_and_taken_up_again(
    place: Place, mlflow_server: MlflowServer, tmp_path: Path
) -> None:
    """At any time from its start on, every other time right after a new checkpoint's step."""
    draw = random.Random(f"{SEED} finetune")

    def words(out: Path) -> list[str]:
        given = ["finetune", place.encoder, "--data", place.videos, "--out", str(out), "--json"]
        given += ["--mlflow", mlflow_server.uri, "--epochs", str(NUM_STRIKES + 4)]
        return [*given, "--set", "batch_size=10"]

    with started(tmp_path / "home", words(tmp_path / "peace")) as process:
        assert process.wait() == 0, process.output[-3000:]
        peace = last_json(process.output)
    out = tmp_path / "fire"
    seen: list[int] = []
    for number in range(NUM_STRIKES):
        known = step_in(out)
        with started(tmp_path / "home", words(out)) as process:
            if number % 4 == 3:
                time.sleep(draw.uniform(1.0, 15.0))
            else:
                wait_until(process, lambda known=known: step_in(out) > known)
                time.sleep(draw.uniform(0.0, 1.0))
            assert process.process.poll() is None, f"it ended early:\n{process.output[-3000:]}"
            process.kill()
            assert process.left_behind(20.0) == []
        seen.append(step_in(out))
    with started(tmp_path / "home", words(out)) as process:
        assert process.wait() == 0, process.output[-3000:]
        fire = last_json(process.output)
    sys.stdout.write(f"finetune: {NUM_STRIKES} kills, checkpoints after them at steps {seen}\n")

    assert fire["metrics"] == peace["metrics"] and fire["labels"] == peace["labels"]
    for name in ("encoder.safetensors", "classifier.safetensors"):
        assert tensors(out / name) == tensors(tmp_path / "peace" / name), name
    client = MlflowClient(mlflow_server.uri, mlflow_server.uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert sorted(runs) == ["fire", "peace"], "one run each"
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert points_of(client, runs["fire"]) == points_of(client, runs["peace"])
    assert runs["fire"].data.params == runs["peace"].data.params
    for name, run in runs.items():
        assert len(run.outputs.model_outputs) == 1, f"{name} has one model"


def test_what_nobody_takes_up_again_is_closed_by_status_and_by_the_next_start(
    place: Place, mlflow_server: MlflowServer, tmp_path: Path
) -> None:
    """Of two that are killed after a checkpoint the first is closed by `prp status`, the second by
    a third one, which lives and stays as it is.
    """

    def words(name: str) -> list[str]:
        given = ["finetune", place.encoder, "--data", place.videos, "--out", str(tmp_path / name)]
        return [*given, "--mlflow", mlflow_server.uri, "--epochs", "1000"]

    def start(name: str) -> StudyProcess:
        process = StudyProcess(tmp_path / "home", words(name), script=COMMAND)
        assert wait_until(process, lambda: step_in(tmp_path / name) > 0), process.output[-3000:]
        return process

    def states() -> dict[str, str]:
        client = MlflowClient(mlflow_server.uri, mlflow_server.uri)
        experiment = client.get_experiment_by_name(EXPERIMENT)
        runs = client.search_runs([experiment.experiment_id])
        return {
            run.info.run_name: run.info.status
            for run in runs
            if run.data.tags["prp.fine_tuned_from"] == place.encoder
            and run.info.run_name in ("one", "two", "three")
        }

    def status() -> None:
        with started(tmp_path / "home", ["status"]) as look:
            assert look.wait() == 0, look.output

    one = start("one")
    status()
    assert states() == {"one": "RUNNING"}, "it lives"
    one.kill()
    one.__exit__()
    assert states() == {"one": "RUNNING"}
    status()
    assert states() == {"one": "KILLED"}
    two = start("two")
    two.kill()
    two.__exit__()
    assert states() == {"one": "KILLED", "two": "RUNNING"}
    with start("three") as three:
        assert wait_until(three, lambda: states()["two"] == "KILLED")
        assert states()["three"] == "RUNNING"


def test_tasks_of_embed_and_the_command_itself_are_killed(place: Place, tmp_path: Path) -> None:
    """Tasks are tried again by Ray, three times each; the command goes on with what is left."""
    draw = random.Random(f"{SEED} embed")

    def words(out: Path) -> list[str]:
        given = ["embed", place.videos, "--model", place.encoder, "--out", str(out)]
        return [*given, "--json", "--workers", "2"]

    with started(tmp_path / "home", words(tmp_path / "peace.parquet")) as process:
        assert process.wait() == 0, process.output[-3000:]
    out = tmp_path / "fire.parquet"
    killed, commands = 0, 0
    while killed < NUM_STRIKES:
        with started(tmp_path / f"home-{commands}", words(out)) as process:
            for _ in range(2):  # of a task that begins again each time, before Ray gives it up
                if killed < NUM_STRIKES and kill_task(process, draw):
                    killed += 1
            if killed < NUM_STRIKES and process.process.poll() is None:
                process.kill()
                commands += 1
                assert process.left_behind() == []
            else:
                code = process.wait()
                assert code == 0, process.output[-3000:]
                if killed < NUM_STRIKES:  # it was quicker: once more from the beginning
                    assert out.read_bytes() == (tmp_path / "peace.parquet").read_bytes()
                    out.unlink()
    sys.stdout.write(f"embed: {killed} tasks and {commands} commands killed\n")
    assert out.read_bytes() == (tmp_path / "peace.parquet").read_bytes()
    assert not out.with_name(f"{out.name}.unfinished").exists()


def kill_task(process: StudyProcess, draw: random.Random) -> bool:
    """kill -9 of a task, a moment after it was seen; False: the command ended before."""
    if not wait_until(process, lambda: bool(process.ray_processes(TASK.removeprefix("ray::")))):
        return False
    time.sleep(draw.uniform(0.0, 1.5))
    tasks = sorted(process.ray_processes(TASK.removeprefix("ray::")))
    if not tasks:
        return False
    try:
        os.kill(tasks[draw.randrange(len(tasks))], signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def step_in(out: Path) -> int:
    """The step of the newest checkpoint of a fine-tuning; 0 before the first."""
    return newest_step(open_store(out), "checkpoints") if out.exists() else 0


def last_json(output: str) -> Any:
    """The object that a command printed at its end."""
    return json.JSONDecoder().raw_decode(output, f"\n{output}".rindex("\n{"))[0]


def tensors(path: Path) -> dict[str, bytes]:
    """The tensors of a file by their names: its header says where they come from."""
    from safetensors.torch import load_file

    return {name: value.numpy().tobytes() for name, value in load_file(path).items()}
