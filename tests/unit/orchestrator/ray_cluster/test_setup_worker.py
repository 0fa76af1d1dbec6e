"""A worker starts by our program as it would by Ray's own, of which this is a transcription."""

from __future__ import annotations

import json
import os
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
from ray._private.runtime_env.context import RuntimeEnvContext
from ray._private.workers import setup_worker as program_of_ray

from orchestrator.ray_cluster import setup_worker
from orchestrator.ray_cluster.local_ray import BELOW_FOLDER

WORKER = ["-s", "/site packages/default_worker.py", "--node-ip=127.0.0.1", "--x=a b'c\"d$e;f", ""]
CONTEXTS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "variables": {"env_vars": {"PRP_A": "1", "PRP_B": "two words; 'quoted' \\ \n", "PATH": "/x"}},
    "a working directory": {"command_prefix": ["cd", "/tmp/some\\ where", "&&"]},
    "another interpreter": {"py_executable": "uv run --isolated python"},
    "another program": {"override_worker_entrypoint": "/in a container/worker.py"},
    "all that Ray knows": {
        "command_prefix": ["cd", "/tmp", "&&"],
        "env_vars": {"PRP_A": ""},
        "py_executable": "/usr/bin/python3",
        "override_worker_entrypoint": None,
        "java_jars": ["a.jar"],
    },
}


class Became(Exception):
    """What a process would have become: a program, its words and its environment."""


@pytest.fixture(autouse=True)
def no_exec(monkeypatch: pytest.MonkeyPatch) -> None:
    """`os.execvp` says in an exception what it would have run; each test has an environment."""

    def become(file: str, args: list[str]) -> None:
        raise Became(file, args, dict(os.environ))

    monkeypatch.setattr(os, "execvp", become)
    monkeypatch.setattr(os, "environ", dict(os.environ))


def started_by(program: str, words: list[str]) -> tuple[Any, ...]:
    """What the process of `program` becomes with the arguments `words`."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Became) as became:
        patch.setattr(sys, "argv", [program, *words])
        patch.setattr(os, "environ", dict(os.environ))
        runpy.run_path(program, run_name="__main__")
    return became.value.args


def arguments(context: dict[str, Any], language: str = "PYTHON") -> list[str]:
    """A raylet's arguments."""
    serialised = RuntimeEnvContext(**context).serialize()
    return [*WORKER, f"--language={language}", f"--serialized-runtime-env-context={serialised}"]


@pytest.mark.parametrize("context", CONTEXTS.values(), ids=CONTEXTS.keys())
def test_a_worker_starts_as_ray_starts_it(context: dict[str, Any]) -> None:
    words = arguments(context)
    assert setup_worker.worker_start(words) is not None, "by our own program"
    ours = started_by(setup_worker.__file__, words)
    assert ours == started_by(program_of_ray.__file__, words)
    assert ours[0] == "bash" and ours[2].items() >= context.get("env_vars", {}).items()


def test_what_it_does_not_know_is_left_to_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRP_OUTER", "outer")
    expanded = arguments({"env_vars": {"PRP_A": "${PRP_OUTER}:${PRP_ABSENT}", "PRP_B": "a"}})
    for words in (expanded, arguments({}, "CPP")):
        assert setup_worker.worker_start(words) is None
        ours = started_by(setup_worker.__file__, words)
        assert ours == started_by(program_of_ray.__file__, words)
    assert started_by(setup_worker.__file__, expanded)[2]["PRP_A"] == "outer:"
    later = json.dumps({"env_vars": {}, "a_field_of_a_later_ray": 1})
    assert setup_worker.worker_start(["x", "--language=PYTHON", setup_worker.CONTEXT + later]) is (
        None
    )


def test_its_file_has_the_name_by_which_a_raylet_knows_it() -> None:
    assert Path(setup_worker.__file__).name == Path(program_of_ray.__file__).name


FORKED = setup_worker.WorkerStart({}, [], sys.executable, ["/ray/worker.py", "--raylet-name=/s/r"])
ENVIRONMENT = {"RAY_RAYLET_PID": "1", "OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize(
    ("changes", "environment"),
    [
        ({"python": "uv run python"}, {}),
        ({"prefix": ["cd", "/x", "&&"]}, {}),
        ({"words": ["-c", "1"]}, {}),
        ({}, {"OMP_NUM_THREADS": "2"}),
        ({}, {"MKL_NUM_THREADS": "1"}),
        ({}, {setup_worker.NO_FORKS: "1"}),
    ],
)
def test_what_is_no_fork(changes: dict[str, Any], environment: dict[str, str]) -> None:
    assert setup_worker.is_forked(FORKED, ENVIRONMENT)
    assert not setup_worker.is_forked(FORKED._replace(**changes), ENVIRONMENT | environment)
    assert not setup_worker.is_forked(FORKED, {"OMP_NUM_THREADS": "1"}), "no raylet has started it"


def test_nothing_is_forked_beside_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup_worker, "GPU_DEVICES", ("/absent", os.devnull))
    assert not setup_worker.is_forked(FORKED, ENVIRONMENT)


def test_a_server_is_one_of_its_session_and_of_what_libraries_read() -> None:
    first = setup_worker.socket_of_server(FORKED, ENVIRONMENT)
    assert first is not None and first.parent == Path("/s")
    assert len(first.name) <= len(Path(BELOW_FOLDER).name), "a socket's path is short"
    assert setup_worker.socket_of_server(FORKED, ENVIRONMENT | {"PRP_A": "1"}) == first
    assert setup_worker.socket_of_server(FORKED, ENVIRONMENT | {"LD_PRELOAD": "x"}) != first
    assert setup_worker.socket_of_server(FORKED._replace(words=["/w.py"]), ENVIRONMENT) is None
