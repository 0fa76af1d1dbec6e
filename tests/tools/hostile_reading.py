"""Reads mutated files of every format and judges each outcome; what it opened is watched."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prp_core.errors import PrpError
from tests.tools.hostile_formats import FORMATS, Format
from tests.tools.mutations import mutated

MAX_SECONDS = 10.0
WRITING = ("w", "a", "x", "+")
REACHING_OUT = ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system", "os.exec")

_watching: list[Watch] = []


@dataclass
class Watch:
    """What this process did outside `folder` while it was watched."""

    folder: Path
    deeds: list[str] = field(default_factory=list)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in REACHING_OUT:
            self.deeds.append(f"{event} {arguments!r:.200}")
        elif event == "open" and isinstance(arguments[0], str):
            path, mode, flags = arguments
            writes = any(letter in mode for letter in WRITING) if mode else bool(flags & 3)
            if writes and not Path(path).is_relative_to(self.folder):
                self.deeds.append(f"wrote {path}")


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    for watch in _watching:
        watch(event, arguments)


@contextmanager
def watched(folder: Path) -> Iterator[Watch]:
    """Collect what this process does outside `folder`."""
    if not hasattr(sys, "_prp_audited"):
        sys.addaudithook(_audit)
        sys._prp_audited = True  # type: ignore[attr-defined]
    watch = Watch(folder)
    _watching.append(watch)
    try:
        yield watch
    finally:
        _watching.remove(watch)


@dataclass
class Tally:
    """Outcomes by format, and every breach of a rule with the seed that shows it."""

    outcomes: Counter[str] = field(default_factory=Counter)
    breaches: list[str] = field(default_factory=list)
    slowest_seconds: float = 0.0
    largest_bytes: int = 0

    def print(self) -> None:
        """Show the counts, for the log of a campaign."""
        counts = ", ".join(f"{name} {count}" for name, count in sorted(self.outcomes.items()))
        memory = f", at most {self.largest_bytes >> 20} MiB" if self.largest_bytes else ""
        print(f"{counts}; the slowest {self.slowest_seconds:.2f} s{memory}")


def outcome_of(kind: Format, folder: Path) -> str:
    """The value that is read, or the class of our error and what it says; another error is a
    breach, which begins with ``!``.
    """
    try:
        return f"= {kind.read(folder)!r}"
    except (PrpError, ValueError) as error:  # ours; `cluster` and parsers know no class of ours
        text = str(error)
        if not isinstance(error, PrpError) and type(error) is not ValueError:
            return f"! {type(error).__name__}: {text[:200]}"
        return f"{type(error).__name__}: {text}"
    except BaseException as error:  # noqa: BLE001 - any other is what is looked for
        return f"! {type(error).__name__}: {str(error)[:200]}"


def read_mutated(name: str, folder: Path, seeds: range, tally: Tally) -> None:
    """Read the file of format `name` once for each seed, twice each, and judge."""
    kind = FORMATS[name]
    place = folder / name.replace(" ", "-").replace("'", "")
    place.mkdir()
    path = kind.make(place)
    sample = path.read_bytes()
    valid = outcome_of(kind, place)
    if not valid.startswith("="):
        tally.breaches.append(f"{name}: the sample is refused: {valid}")
        return
    with watched(place) as watch:
        for seed in seeds:
            data = mutated(sample, f"{name} {seed}")
            found = []
            for _ in range(2):
                path.write_bytes(data)
                started = time.monotonic()
                found.append(outcome_of(kind, place))
                tally.slowest_seconds = max(tally.slowest_seconds, time.monotonic() - started)
            tally.outcomes[f"{name}: {'accepted' if found[0].startswith('=') else 'refused'}"] += 1
            tally.breaches += [
                f"{name}, seed {seed}: {words}"
                for words in _breaches(kind, found, valid, data == sample)
            ]
    tally.breaches += [f"{name}: {deed}" for deed in watch.deeds]
    if tally.slowest_seconds > MAX_SECONDS:
        tally.breaches.append(f"{name}: {tally.slowest_seconds:.1f} s for one file")


def _breaches(kind: Format, found: list[str], valid: str, is_sample: bool) -> Iterator[str]:
    first, second = found
    if first.startswith("!"):
        yield first
    if first != second:
        yield f"two readings differ: {first[:200]} and {second[:200]}"
    if not first.startswith(("=", "!")) and len(first.splitlines()) != 1:
        yield f"the error has {len(first.splitlines())} lines: {first[:300]!r}"
    if kind.is_sealed and first.startswith("=") and first != valid:
        yield f"something else was accepted: {first[:200]}"
    if is_sample and first != valid:
        yield f"the sample itself was refused: {first[:200]}"
