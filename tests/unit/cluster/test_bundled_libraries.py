"""Bundled native libraries: each is found, has a licence and stands in the NOTICE."""

from __future__ import annotations

import json
import re
from importlib.metadata import PathDistribution, distribution
from pathlib import Path

import pytest

from cluster.bundled_libraries import (
    LICENCES_OF_FFMPEG,
    BundledLibrary,
    bundled_libraries,
    main,
    notice_lines,
    problems,
)

NOTICE = Path(__file__).parents[3] / "NOTICE"
STATED = {
    "LGPL version 3 or later": "LGPL-3.0-or-later",
    "LGPL version 2.1 or later": "LGPL-2.1-or-later",
    "nonfree and unredistributable": "LicenseRef-FFmpeg-nonfree-unredistributable",
}


def _wheel(folder: Path, files: str) -> PathDistribution:
    info = folder / "Thing-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: Thing\nVersion: 1.0\n")
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in files.split()))
    return PathDistribution(info)


def test_libraries_are_told_from_extension_modules(tmp_path: Path) -> None:
    wheel = _wheel(
        tmp_path,
        "thing.libs/libx264-555fb44a.so.164 thing/core.cpython-311-x86_64-linux-gnu.so "
        "thing/.dylibs/libvpx.9.dylib thing/libown.so thing/a.py "
        "thing/libcudart.3eda8113.so.13 thing/libpng16-529cb57a.so.16.58.0",
    )
    assert [(one.name, one.licence) for one in bundled_libraries([wheel])] == [
        ("libcudart", "LicenseRef-NVIDIA-proprietary"),
        ("libown", ""),
        ("libpng16", "libpng-2.0"),
        ("libvpx", "BSD-3-Clause"),
        ("libx264", "GPL-2.0-or-later"),
    ]


def test_what_is_unknown_unlisted_or_nothing_is_a_problem() -> None:
    known = BundledLibrary("thing", "1", "libz", "libz.so.1", "Zlib")
    unknown = BundledLibrary("thing", "1", "libown", "libown.so", "")
    assert problems([], "") == [
        "no installed wheel bundles a library: was another environment looked at?"
    ]
    assert problems([known, unknown], "") == [
        "libown.so in the wheel of thing has no licence in bundled_libraries.py; add it",
        "NOTICE lacks the line 'thing: libz: Zlib'",
    ]
    assert problems([known], "\n".join(notice_lines([known]))) == []


def test_this_environment_stands_in_the_notice_and_in_the_sbom(tmp_path: Path) -> None:
    bom = tmp_path / "bom.json"
    bom.write_text('{"bomFormat": "CycloneDX", "components": [{"name": "av"}]}')
    out = tmp_path / "sbom.json"
    assert main(["--bom", str(bom), "--out", str(out), "--notice", str(NOTICE)]) == 0
    names = [one["name"] for one in json.loads(out.read_text())["components"]]
    assert names[0] == "av" and {"libx264", "libx265", "libarrow", "libtorch"} <= set(names)
    assert len(names) > 100


@pytest.mark.parametrize("package", ["av", "decord"])
def test_the_licence_is_the_one_that_ffmpeg_states_of_itself(package: str) -> None:
    installed = distribution(package)
    (file,) = (path for path in installed.files or () if "libavcodec" in path.name)
    stated = re.search(rb"libavcodec license: ([^\0]+)", Path(str(file.locate())).read_bytes())
    assert stated is not None
    assert STATED[stated[1].decode()] == LICENCES_OF_FFMPEG[package]
