"""The manifest: verified facts of every video of a corpus, and its division into parts.

A manifest is immutable and named by its content hash; broken videos stay in it, with the reason why
they are not used.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property

from prp_core.checks import check, check_choice
from prp_core.data.object_store import ObjectRef
from prp_core.errors import NEEDS_PREPARE, QUARANTINE_REASONS, UnsuitableClasses, UserError
from prp_core.randomness import draw_bits

SPLITS = ("", "train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class VideoRecord:
    """What was verified about one video.

    `num_frames` counts frames that were decoded, not those that a header declares. `group` names
    what must stay within one part. `split` is ``"train"``, ``"val"``, ``"test"`` or ``""`` (not
    stated). `reason` is empty for a usable video, else a key of `QUARANTINE_REASONS`; `detail` is
    then for a person. `label` is None where the class is not known.
    """

    key: str
    num_bytes: int
    etag: str
    sha256: str = ""
    num_frames: int = 0
    fps: float = 0.0
    width: int = 0
    height: int = 0
    codec: str = ""
    label: str | None = None
    group: str = ""
    split: str = ""
    reason: str = ""
    detail: str = ""

    def __post_init__(self) -> None:
        check_choice(f"split of {self.key}", self.split, SPLITS)
        check_choice(f"reason of {self.key}", self.reason, ("", *QUARANTINE_REASONS))
        for name in ("num_bytes", "num_frames", "width", "height"):
            if getattr(self, name) < 0:
                check(False, f"{name} of {self.key}", getattr(self, name), "must not be negative")
        if not 0 <= self.fps < math.inf:
            check(False, f"fps of {self.key}", self.fps, "must be a number of 0 or more")

    @property
    def ref(self) -> ObjectRef:
        """The object that holds the video."""
        return ObjectRef(self.key, self.num_bytes, self.etag, self.sha256)


@dataclass(frozen=True)
class Manifest:
    """The videos under `uri`, sorted by key; keys are distinct."""

    uri: str
    records: tuple[VideoRecord, ...]

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "records", tuple(sorted(self.records, key=lambda record: record.key))
        )
        twice = [
            key
            for key, count in Counter(record.key for record in self.records).items()
            if count > 1
        ]
        if twice:
            raise UserError(
                f"manifest of {self.uri} names {twice[0]!r} twice; each video has one record"
            )

    @cached_property
    def content_hash(self) -> str:
        """16 hex digits over the whole content but the wording of details; the file's name."""
        return _hash_lines(
            [self.uri], [asdict(replace(record, detail="")) for record in self.records]
        )

    @cached_property
    def videos_hash(self) -> str:
        """16 hex digits over the videos alone; equal for a bucket and a folder that agree."""
        names = ("key", "sha256", "num_frames", "label", "group", "split", "reason")
        return _hash_lines(
            [], [{name: getattr(record, name) for name in names} for record in self.records]
        )

    def usable(self) -> tuple[VideoRecord, ...]:
        """The videos that training and evaluation may read."""
        return tuple(record for record in self.records if not record.reason)

    def quarantined(self) -> tuple[VideoRecord, ...]:
        """The broken videos, each with its reason."""
        return tuple(record for record in self.records if record.reason)

    @property
    def quarantined_in_words(self) -> str:
        """``3 quarantined``, and how many of them are whole and only have to be prepared."""
        count = sum(record.reason == NEEDS_PREPARE for record in self.records)
        only = f", {count} of them only need 'prp data prepare'" if count else ""
        return f"{len(self.quarantined())} quarantined{only}"

    def preparable(self) -> tuple[VideoRecord, ...]:
        """The videos that preparing reads: the usable ones, and those that only need it."""
        return tuple(one for one in self.records if one.reason in ("", NEEDS_PREPARE))

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes of the usable videos, sorted."""
        return tuple(sorted({record.label for record in self.usable() if record.label is not None}))


def _hash_lines(head: list[str], rows: list[dict[str, object]]) -> str:
    lines = head + [
        json.dumps(row, sort_keys=True, ensure_ascii=True, separators=(",", ":")) for row in rows
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Parts:
    """The usable videos of a manifest, divided into train, validation and test.

    `train` is learnt from, `val` guides the search, `test` is read once at the end. Training needs
    no class; what is measured does: once any video has a class, those of `val` and `test` have one.
    Where encoders are judged on another corpus (`judged_elsewhere`), `val` and `test` are that
    one's, and `judged_train` is its training part, of which nothing is learnt.
    """

    train: tuple[VideoRecord, ...]
    val: tuple[VideoRecord, ...]
    test: tuple[VideoRecord, ...]
    judged_train: tuple[VideoRecord, ...] | None = None

    @property
    def gallery(self) -> tuple[VideoRecord, ...]:
        """The videos that queries are measured against: those of `judged_train`, else of `train`,
        that have a class; all of them where none has.
        """
        return tuple(_judged(self.train if self.judged_train is None else self.judged_train))

    @property
    def shared_groups(self) -> tuple[str, ...]:
        """Groups that the corpus' own splits put into several parts: leakage to be reported.

        Carving never does.
        """
        train = self.train if self.judged_train is None else self.judged_train
        parts = [
            {record.group for record in part if record.group}
            for part in (train, self.val, self.test)
        ]
        return tuple(sorted((parts[0] & parts[1]) | (parts[0] & parts[2]) | (parts[1] & parts[2])))


def parts(manifest: Manifest, *, val_fraction: float, seed: int) -> Parts:
    """The manifest's parts: a pure function of its usable records, `val_fraction` and `seed`.

    Splits that the corpus states are kept. What it leaves open is carved out of train group by
    group, `val_fraction` (0 to 1, both excluded) of what each class has there: first `test` where
    no video says "test", then `val` where none says "val". Once any video says "train", those that
    say nothing are unused (HMDB51's 0). Groups with copies of one video are one group. A video
    without a class stays in train, unless its group is carved out, whose scene it would show: then
    it is unused, as it is with a stated "val" or "test". Raises `UserError` when there are too few
    videos or groups, with the counts.
    """
    check(
        0 < val_fraction < 1,
        "val_fraction",
        val_fraction,
        "must lie between 0 and 1, both excluded",
    )
    usable = group_copies(manifest.usable())
    by_split = {split: [record for record in usable if record.split == split] for split in SPLITS}
    train = by_split["train"] or by_split[""]
    has_classes = bool(manifest.labels)
    val = _judged(by_split["val"], has_classes=has_classes)
    test = _judged(by_split["test"], has_classes=has_classes)
    carves_val = not by_split["val"]
    carves_test = not by_split["test"]
    _check_enough(manifest, train, num_carved=carves_val + carves_test)
    if carves_test:
        train, test = _carve(train, val_fraction, seed, "test", num_kept_groups=1 + carves_val)
    if carves_val:
        train, val = _carve(train, val_fraction, seed, "val", num_kept_groups=1)
    return Parts(tuple(train), tuple(val), tuple(test))


def judged_elsewhere(trained: Manifest, judged: Parts) -> Parts:
    """The parts of a run that learns from all usable videos of `trained`, of which none is held
    out, and is judged on the parts `judged` of another corpus.

    A group of `trained` that holds a copy (equal sha256) of a video of `judged`'s validation or
    test part is left out: an encoder would be asked about what it has seen. Raises `UserError`
    where nothing is left.
    """
    asked = {record.sha256 for record in (*judged.val, *judged.test)} - {""}
    usable = group_copies(trained.usable())
    seen = {record.group for record in usable if record.sha256 in asked}
    train = tuple(record for record in usable if record.group not in seen)
    if not train:
        raise UserError(
            f"{trained.uri}: none of its {len(usable)} usable videos is left to train on"
            + (
                "; all are copies of validation or test videos that encoders are judged on"
                if usable
                else f" ({trained.quarantined_in_words})"
            )
        )
    return Parts(train, judged.val, judged.test, judged.train)


def group_copies(records: Sequence[VideoRecord]) -> tuple[VideoRecord, ...]:
    """`records`, where groups that hold copies of one video have one name: the first of theirs.

    A record without a sha256 is nobody's copy.
    """
    parent: dict[str, str] = {}

    def root(group: str) -> str:
        while group in parent:
            group = parent[group]
        return group

    for copies in copies_of_each_video(records):
        roots = sorted({root(record.group) for record in copies})
        parent.update(dict.fromkeys(roots[1:], roots[0]))
    return tuple(
        replace(record, group=root(record.group)) if record.group in parent else record
        for record in records
    )


def copies_of_each_video(records: Iterable[VideoRecord]) -> list[list[VideoRecord]]:
    """The usable videos of each sha256 that occurs more than once."""
    by_content: dict[str, list[VideoRecord]] = {}
    for record in records:
        if record.sha256 and not record.reason:
            by_content.setdefault(record.sha256, []).append(record)
    return [copies for copies in by_content.values() if len(copies) > 1]


def _judged(
    records: Sequence[VideoRecord], *, has_classes: bool | None = None
) -> list[VideoRecord]:
    """Those of `records` that something can be measured on: those with a class, or all where
    nothing has one (`has_classes` False; by default, none of them).
    """
    labelled = [record for record in records if record.label is not None]
    if has_classes is None:
        has_classes = bool(labelled)
    return labelled if has_classes else list(records)


def _check_enough(manifest: Manifest, train: list[VideoRecord], num_carved: int) -> None:
    judged = _judged(train, has_classes=bool(manifest.labels))
    num_groups = len({record.group for record in judged})
    if num_groups < 1 + num_carved:
        kind = " with a class" if len(judged) < len(train) else ""
        raise (UnsuitableClasses if kind else UserError)(
            f"{manifest.uri}: {len(judged)} usable training videos{kind} in {num_groups} groups "
            f"({manifest.quarantined_in_words}), "
            f"but {1 + num_carved} groups are needed to keep the parts apart; "
            "add videos of other groups or state splits"
        )


def _carve(
    records: list[VideoRecord], fraction: float, seed: int, name: str, num_kept_groups: int
) -> tuple[list[VideoRecord], list[VideoRecord]]:
    """(`records` without the carved groups, the carved part): whole groups, in drawn order, and of
    them what something can be measured on.

    Groups are taken while a class lacks its share. A class keeps at least one group where it has
    two; at least `num_kept_groups` groups stay.
    """
    groups: dict[str, Counter[str]] = {}
    for record in _judged(records):
        groups.setdefault(record.group, Counter())[record.label or ""] += 1
    needed = {
        label: max(1, round(fraction * count))
        for label, count in sum(groups.values(), Counter()).items()
    }
    groups_left = Counter(label for labels in groups.values() for label in labels)
    taken: list[str] = []
    order = sorted(groups, key=lambda group: (draw_bits(seed, name, group), group))
    # The second round takes place only when the first could take nothing at all.
    for empties_a_class in (False, True):
        for group in order if not taken else ():
            useful = any(needed[label] > 0 for label in groups[group])
            empties = any(groups_left[label] <= num_kept_groups for label in groups[group])
            if (
                useful
                and (empties_a_class or not empties)
                and len(groups) - len(taken) > num_kept_groups
            ):
                taken.append(group)
                for label, count in groups[group].items():
                    needed[label] -= count
                    groups_left[label] -= 1
    chosen = set(taken)
    return [record for record in records if record.group not in chosen], [
        record for record in _judged(records) if record.group in chosen
    ]
