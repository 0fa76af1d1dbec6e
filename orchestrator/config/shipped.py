"""The studies and presets that are installed with PRP: package data of `sweeps`."""

from __future__ import annotations

from pathlib import Path

STUDIES_DIR = Path(__file__).resolve().parents[2] / "sweeps"
PRESETS_DIR = STUDIES_DIR / "presets"


def studies() -> dict[str, Path]:
    """Name -> file of each shipped study: ``rate_search``."""
    return {path.stem: path for path in sorted(STUDIES_DIR.glob("[a-z]*.py"))}


def presets() -> dict[str, Path]:
    """Name -> file of each shipped preset: ``demo``."""
    return {path.stem: path for path in sorted(PRESETS_DIR.glob("*.toml"))}
