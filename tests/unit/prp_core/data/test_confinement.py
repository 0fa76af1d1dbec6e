"""The doors of a decode process: what it imports, what it knows, what it reaches."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import textwrap
import venv
from pathlib import Path

import av
import numpy as np
import pytest

from orchestrator.storage.manifest_file import read_manifest
from prp_core.data.decode_process import MAX_FOLDERS, DecodeProcess
from prp_core.data.loader_config import LoaderConfig
from prp_core.isolated_start import KEPT_VARIABLES, small_environment
from tests.video_factory import make_video, shown_numbers

PRP = Path(sys.executable).parent / "prp"
SECRETS = {
    "AWS_ACCESS_KEY_ID": "canary-1",
    "AWS_SECRET_ACCESS_KEY": "canary-2",
    "AWS_SESSION_TOKEN": "canary-3",
    "MLFLOW_TRACKING_PASSWORD": "canary-4",
    "PGPASSWORD": "canary-5",
    "RAY_AUTH_TOKEN": "canary-6",
    "HF_TOKEN": "canary-7",
}
# Tries each door, before and after the kernel closes it, and prints which were open.
DOORS = """
    import json, os, socket, sys
    from pathlib import Path
    from prp_core.data.readers.confinement import confine_process, confine_thread

    folder, port = Path(sys.argv[1]), int(sys.argv[2])

    def tcp():
        socket.create_connection(("127.0.0.1", port), timeout=5).close()

    def udp():
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", port))

    DOORS = {
        "tcp": tcp,
        "udp": udp,
        "videos": (folder / "videos" / "a").read_bytes,
        "other videos": (folder / "videos" / "b").read_bytes,
        "home": (folder / "home" / "credentials").read_bytes,
        "write": lambda: (folder / "videos" / "new").write_bytes(b"x"),
        "remove": lambda: (folder / "videos" / "c").unlink(),
        "environment": Path(f"/proc/{os.getppid()}/environ").read_bytes,
    }

    def open_doors():
        found = []
        for name, door in DOORS.items():
            try:
                door()
            except OSError:
                continue
            found.append(name)
        (folder / "videos" / "new").unlink(missing_ok=True) if "write" in found else None
        (folder / "videos" / "c").write_bytes(b"c") if "remove" in found else None
        return found

    before = open_doors()
    enforced = confine_process([str(folder / "videos")])
    process = open_doors()
    confine_thread(str(folder / "videos" / "a"))
    print(json.dumps([before, enforced, process, open_doors()]))
"""


@pytest.fixture
def video(tmp_path: Path) -> Path:
    (tmp_path / "videos").mkdir()
    return make_video(tmp_path / "videos" / "a.mp4", 20)


def test_code_beside_the_videos_does_not_run(tmp_path: Path, video: Path) -> None:
    for name in ("numpy", "json", "av", "struct", "orchestrator", "prp_core", "sitecustomize"):
        (video.parent / f"{name}.py").write_text(
            f"open({str(tmp_path / f'ran-{name}')!r}, 'w').close()\n"
        )
    done = subprocess.run(
        [PRP, "data", "index", ".", "--out", tmp_path / "data"],
        cwd=video.parent,
        env={**os.environ, "PRP_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (manifest,) = (tmp_path / "data").glob("*.parquet")
    usable = [record for record in read_manifest(manifest).records if not record.reason]
    assert [(record.key, record.num_frames) for record in usable] == [("a.mp4", 20)]
    assert [path.name for path in tmp_path.glob("ran-*")] == []


def test_a_decoder_inherits_no_secret(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    with DecodeProcess(LoaderConfig()) as process:
        assert shown_numbers(process.read(video, [3])) == [3]
        environment = Path(f"/proc/{process.pid}/environ").read_bytes()
    assert b"canary" not in environment
    names = {entry.partition(b"=")[0].decode() for entry in environment.split(b"\0") if entry}
    assert names <= {*KEPT_VARIABLES, "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MALLOC_ARENA_MAX"}


def test_the_small_environment_keeps_what_is_named() -> None:
    full = {**SECRETS, "PATH": "/bin", "LANG": "C.UTF-8", "HOME": "/srv/ada", "PYTHONPATH": "/x"}
    assert small_environment(environment=full) == {"PATH": "/bin", "LANG": "C.UTF-8"}
    assert small_environment({"OMP_NUM_THREADS": "1"}, also_kept=("HOME",), environment=full) == {
        "PATH": "/bin",
        "LANG": "C.UTF-8",
        "HOME": "/srv/ada",
        "OMP_NUM_THREADS": "1",
    }


def test_what_the_kernel_offers_is_enforced(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "home").mkdir()
    for name in ("videos/a", "videos/b", "videos/c", "home/credentials"):
        (tmp_path / name).write_text(name)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(DOORS), str(tmp_path), str(port)],
            capture_output=True,
            text=True,
            check=True,
        )
        before, enforced, process, thread = json.loads(done.stdout)
        listener.settimeout(0.2)
        listener.accept()[0].close()  # the one from before
        if "tcp" not in process:
            with pytest.raises(TimeoutError):
                listener.accept()
    all_doors = ["tcp", "udp", "videos", "other videos", "home", "write", "remove", "environment"]
    assert before == all_doors
    closed = set()
    if "network" in enforced:
        closed |= {"tcp", "udp"}
    if "tcp" in enforced:
        closed |= {"tcp"}
    if "files" in enforced:
        closed |= {"home", "write", "remove", "environment"}
    assert process == [door for door in all_doors if door not in closed]
    if "files" in enforced:
        closed |= {"other videos"}
    assert thread == [door for door in all_doors if door not in closed]


@pytest.mark.parametrize("reader", ["pyav", "decord"])
def test_a_decoder_has_left_the_network_where_it_may(video: Path, reader: str) -> None:
    may_leave = (
        subprocess.run(
            [
                sys.executable,
                "-c",
                "from prp_core.data.readers.confinement import confine_process;"
                "raise SystemExit('network' not in confine_process([]))",
            ]
        ).returncode
        == 0
    )
    with DecodeProcess(LoaderConfig(reader=reader)) as process:
        assert shown_numbers(process.read(video, [3])) == [3]
        theirs = os.readlink(f"/proc/{process.pid}/ns/net")  # noqa: PTH115 - it names no file
    assert (theirs != os.readlink("/proc/self/ns/net")) is may_leave  # noqa: PTH115


def test_videos_of_many_folders_are_read(tmp_path: Path, video: Path) -> None:
    paths = []
    for number in range(MAX_FOLDERS + 3):
        folder = tmp_path / f"class-{number}"
        folder.mkdir()
        paths.append(folder / "link.mp4")
        if number % 2:
            paths[-1].symlink_to(video)
        else:
            paths[-1].write_bytes(video.read_bytes())
    with DecodeProcess(LoaderConfig()) as process:
        assert [shown_numbers(process.read(path, [2, 5])) for path in paths] == [[2, 5]] * len(
            paths
        )
        assert process.num_starts <= MAX_FOLDERS + 1
    with DecodeProcess(LoaderConfig(), [tmp_path]) as process:
        assert [shown_numbers(process.read(path, [7])) for path in paths] == [[7]] * len(paths)
        assert process.num_starts == 1


INSPECT = """
    import sys
    from prp_core.data.decode_process import DecodeProcess
    from prp_core.data.loader_config import LoaderConfig
    from prp_core.errors import UserError

    try:
        print(DecodeProcess(LoaderConfig()).inspect(sys.argv[1]).num_frames)
    except UserError as error:
        print(error)
"""


def linked_environment(folder: Path) -> Path:
    """A virtual environment with the decoder's packages as links to where they lie, as
    ``uv --link-mode=symlink`` installs them: its site-packages.
    """
    venv.create(folder, symlinks=True, with_pip=False)
    (packages,) = folder.glob("lib/python*/site-packages")
    for module in (av, np):
        for source in Path(module.__file__).parents[1].glob(f"{module.__name__}*"):
            if source.suffix in ("", ".libs"):
                shutil.copytree(source, packages / source.name, copy_function=link_to)
    return packages


def link_to(source: str, place: str) -> None:
    """A link at `place` where a copy of `source` was asked for."""
    Path(place).symlink_to(source)


def inspected_in(environment: Path, video: Path) -> str:
    """What a process of the virtual `environment` says of the video."""
    done = subprocess.run(
        [environment / "bin" / "python", "-c", textwrap.dedent(INSPECT), video],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_an_environment_of_links_condemns_no_video(tmp_path: Path, video: Path) -> None:
    packages = linked_environment(tmp_path / "linked")
    assert inspected_in(tmp_path / "linked", video) == "20"
    for part in packages.glob("av/subtitles/stream.*"):
        part.unlink()
    said = inspected_in(tmp_path / "linked", video)
    assert said.startswith("the decode process cannot load its code (")
    assert "av.subtitles.stream" in said and "no fault of a video" in said
