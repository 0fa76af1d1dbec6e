"""The native libraries that installed wheels bundle, with their licences: for a NOTICE and an SBOM.

A lock file names packages; what a wheel carries inside (FFmpeg, x264, OpenBLAS, CUDA) it does not.
``python -m cluster.bundled_libraries --bom BOM --out SBOM --notice NOTICE`` adds them to a
CycloneDX bill of materials of the packages, and fails for one that has no licence below or does not
stand in the NOTICE.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path

LIBRARY = re.compile(
    r"(?:.*/)?(?P<stem>lib[A-Za-z0-9_+-]+?|nvshmem_\w+)"
    r"(?:-(?:[0-9a-f]{8}|[0-9.]+))*(?:\.[0-9a-f]{8})?\.(?:so(?:\.\d+)*|\d*\.?dylib)"
)
NVIDIA = "LicenseRef-NVIDIA-proprietary"
OWN = "the package's own"
FFMPEG = ("libav", "libsw", "libpostproc")
# As each package's FFmpeg states itself ("libavcodec license: ..." in the file). That of av loads
# x264 and x265, so that the whole falls under the GPL.
LICENCES_OF_FFMPEG = {
    "av": "LGPL-3.0-or-later",
    "decord": "LicenseRef-FFmpeg-nonfree-unredistributable",
    "opencv-python-headless": "LGPL-2.1-or-later",
}

# By the stem of a library's name, longest first; the first entry that it begins with counts.
LICENCES = {
    "libx264": "GPL-2.0-or-later",
    "libx265": "GPL-2.0-or-later",
    "libgnutls": "LGPL-2.1-or-later",
    "libnettle": "LGPL-3.0-or-later OR GPL-2.0-or-later",
    "libhogweed": "LGPL-3.0-or-later OR GPL-2.0-or-later",
    "libgmp": "LGPL-3.0-or-later OR GPL-2.0-or-later",
    "libunistring": "LGPL-3.0-or-later OR GPL-2.0-or-later",
    "libmp3lame": "LGPL-2.0-or-later",
    "libasound": "LGPL-2.1-or-later",
    "libopencore": "Apache-2.0",
    "libSvtAv1Enc": "BSD-3-Clause-Clear",
    "libdav1d": "BSD-2-Clause",
    "libaom": "BSD-2-Clause",
    "libavif": "BSD-2-Clause",
    "libopus": "BSD-3-Clause",
    "libvpx": "BSD-3-Clause",
    "libwebp": "BSD-3-Clause",
    "libsharpyuv": "BSD-3-Clause",
    "libvpl": "MIT",
    "libdrm": "MIT",
    "libxcb": "MIT",
    "libXau": "MIT",
    "libgfortran": "GPL-3.0-or-later WITH GCC-exception-3.1",
    "libquadmath": "LGPL-2.1-or-later",
    "libgomp": "GPL-3.0-or-later WITH GCC-exception-3.1",
    "libopenblas": "BSD-3-Clause",
    "libscipy_openblas": "BSD-3-Clause",
    "libpng": "libpng-2.0",
    "libjpeg": "IJG AND BSD-3-Clause",
    "libtiff": "libtiff",
    "libfreetype": "FTL OR GPL-2.0-or-later",
    "libharfbuzz": "MIT",
    "liblcms2": "MIT",
    "liblzma": "0BSD",
    "libopenjp2": "BSD-2-Clause",
    "libbrotli": "MIT",
    "libzstd": "BSD-3-Clause OR GPL-2.0-only",
    "libz": "Zlib",
    "libbz2": "bzip2-1.0.6",
    "libjemalloc": "BSD-2-Clause",
    "libssl": "Apache-2.0",
    "libcrypto": "Apache-2.0",
    "libcrypt": "LGPL-2.1-or-later",
    "libcom_err": "MIT",
    "libgssapi": "MIT",
    "libk5crypto": "MIT",
    "libkrb5": "MIT",
    "libkeyutils": "LGPL-2.1-or-later",
    "liblber": "OLDAP-2.8",
    "libldap": "OLDAP-2.8",
    "libpq": "PostgreSQL",
    "libsasl2": "BSD-4-Clause-UC",
    "libcudart": NVIDIA,
    "libnvjpeg": NVIDIA,
    "libcupti": NVIDIA,
    "libnvperf": NVIDIA,
    "libcheckpoint": NVIDIA,
    "libpcsamplingutil": NVIDIA,
}
# What a package builds itself, and has the licence of the package.
OWN_LIBRARIES = {
    "torch": ("libc10", "libtorch", "libshm", "libcaffe2"),
    "torchvision": ("libtorchvision",),
    "pyarrow": ("libarrow", "libparquet", "libgandiva"),
    "triton": ("libtriton", "libTriton", "libproton", "libMLIR", "libGPUInstrumentation"),
    "decord": ("libdecord",),
    "onnxruntime": ("libonnxruntime",),
    "usearch": ("libusearch",),
}


@dataclass(frozen=True, order=True)
class BundledLibrary:
    """A native library inside the wheel of `package`; `licence` is empty where it is not known."""

    package: str
    version: str
    name: str
    file: str
    licence: str


def bundled_libraries(installed: Iterable[Distribution]) -> list[BundledLibrary]:
    """The libraries that the installed packages carry, without their extension modules."""
    return sorted({library for one in installed for library in _libraries_of(one)})


def _libraries_of(package: Distribution) -> Iterator[BundledLibrary]:
    name = package.metadata["Name"].lower()
    for path in package.files or ():
        match = None if "cpython" in path.name else LIBRARY.fullmatch(str(path))
        if match is not None:
            stem = match["stem"]
            yield BundledLibrary(name, package.version, stem, path.name, licence_of(name, stem))


def licence_of(package: str, stem: str) -> str:
    """The licence of the library `stem` in the wheel of `package`; "" where it is not known."""
    if package.startswith("nvidia-"):
        return NVIDIA
    if stem.startswith(OWN_LIBRARIES.get(package, ("\0",))):
        return OWN
    if stem.startswith(FFMPEG) and not stem.startswith("libavif"):
        return LICENCES_OF_FFMPEG.get(package, "")
    known = [begin for begin in LICENCES if stem.startswith(begin)]
    return LICENCES[max(known, key=len)] if known else ""


def notice_lines(libraries: Sequence[BundledLibrary]) -> list[str]:
    """One line for each library: package, library, licence; without versions."""
    return sorted({f"{one.package}: {one.name}: {one.licence}" for one in libraries})


def with_libraries(
    bom: dict[str, object], libraries: Sequence[BundledLibrary]
) -> dict[str, object]:
    """The CycloneDX `bom` with a component for each library."""
    components = bom.get("components")
    assert isinstance(components, list), "a bill of materials has components"
    added = [
        {
            "type": "library",
            "bom-ref": f"{one.package}@{one.version}/{one.file}",
            "name": one.name,
            "licenses": [{"license": {"name": one.licence}}],
            "properties": [
                {"name": "prp:bundled-in", "value": f"{one.package}@{one.version}"},
                {"name": "prp:file", "value": one.file},
            ],
        }
        for one in libraries
    ]
    return {**bom, "components": [*components, *added]}


def problems(libraries: Sequence[BundledLibrary], notice: str) -> list[str]:
    """What has to be mended before the libraries may be passed on."""
    if not libraries:
        return ["no installed wheel bundles a library: was another environment looked at?"]
    unknown = [
        f"{one.file} in the wheel of {one.package} has no licence in {Path(__file__).name}; add it"
        for one in libraries
        if not one.licence
    ]
    missing = [
        f"NOTICE lacks the line {line!r}"
        for line in notice_lines([one for one in libraries if one.licence])
        if line not in notice.splitlines()
    ]
    return unknown + missing


def main(words: Sequence[str] | None = None) -> int:
    """Write the SBOM, and compare the NOTICE."""
    parser = argparse.ArgumentParser(prog="bundled_libraries", description=__doc__)
    parser.add_argument("--bom", type=Path, required=True, help="a CycloneDX file of the packages")
    parser.add_argument("--out", type=Path, required=True, help="where the whole SBOM is written")
    parser.add_argument("--notice", type=Path, required=True, help="the NOTICE to compare with")
    chosen = parser.parse_args(words)
    libraries = bundled_libraries(distributions())
    bom = with_libraries(json.loads(chosen.bom.read_text()), libraries)
    chosen.out.write_text(json.dumps(bom, indent=1) + "\n")
    found = problems(libraries, chosen.notice.read_text())
    sys.stderr.writelines(f"{line}\n" for line in found)
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
