"""The layout of a corpus in folders: hash prefixes are no classes, and split folders state a split.

Both are recognised from all keys together: a folder alone does not tell what it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

HASH_PREFIX = re.compile(r"[0-9a-f]{2,4}")
SPLIT_FOLDER = re.compile(
    r"(?:(?:videos?|clips|k\d+|kinetics[_-]?\d*)[_-])?"
    r"(?P<part>train|training|val|valid|validate|validation|test|testing)(?:[_-]?\d+p?)?",
    re.IGNORECASE,
)
SPLIT_OF_NAME = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validate": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class FolderLayout:
    """What the folders of a corpus mean; by default each is the class of what it holds."""

    are_hashes: bool = False
    split_of_folder: Mapping[str, str] = field(default_factory=dict)

    def split(self, key: str) -> str:
        """The split that a folder above `key` states; "" where none does."""
        folder = key
        while folder:
            folder = folder.rpartition("/")[0]
            if folder in self.split_of_folder:
                return self.split_of_folder[folder]
        return ""

    def label(self, key: str) -> str | None:
        """The folder that `key` lies in; None where that is no class."""
        folder = key.rpartition("/")[0]
        if self.are_hashes or not folder or folder in self.split_of_folder:
            return None
        return folder.rpartition("/")[2]


def folder_layout(keys: Iterable[str]) -> FolderLayout:
    """The layout of a corpus with these keys."""
    keys = tuple(keys)
    return FolderLayout(folders_are_hashes(keys), _split_folders(keys))


def folders_are_hashes(keys: Iterable[str]) -> bool:
    """Whether the folders are hash prefixes (``0a``, ``f3``, ...) that spread a bucket's load.

    Then they are no classes. All names are hex digits of one length (2 to 4), and at every place of
    them stand letters and digits: numbered classes (``c1``, ``c2``) have a letter or a digit there.
    """
    names = {key.rpartition("/")[0].rpartition("/")[2] for key in keys}
    return (
        len(names) > 1
        and len({len(name) for name in names}) == 1
        and all(HASH_PREFIX.fullmatch(name) for name in names)
        and all(
            any(character.isdigit() for character in place)
            and any(character.isalpha() for character in place)
            for place in zip(*names, strict=True)
        )
    )


def _split_folders(keys: tuple[str, ...]) -> dict[str, str]:
    """The folders that are a corpus' own parts, as Kinetics' ``train/CLASS`` and ``val/CLASS``.

    A class may be called "train": folders are parts where one for training has another beside it,
    and either it holds folders itself or all folders beside it are parts.
    """
    folders: set[str] = set()
    for key in keys:
        folder = key.rpartition("/")[0]
        while folder and folder not in folders:
            folders.add(folder)
            folder = folder.rpartition("/")[0]
    beside: dict[str, list[str]] = {}
    for folder in sorted(folders):
        beside.setdefault(folder.rpartition("/")[0], []).append(folder)
    found: dict[str, str] = {}
    for siblings in beside.values():
        parts = {folder: split for folder in siblings if (split := _split_of(folder))}
        training = [folder for folder, split in parts.items() if split == "train"]
        holds_folders = any(folder in beside for folder in training)
        if (
            len(set(parts.values())) > 1
            and training
            and (holds_folders or len(parts) == len(siblings))
        ):
            found |= parts
    return found


def _split_of(folder: str) -> str:
    match = SPLIT_FOLDER.fullmatch(folder.rpartition("/")[2])
    return SPLIT_OF_NAME[match["part"].lower()] if match else ""
