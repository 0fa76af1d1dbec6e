"""The choice of trials and videos for showcases, as pure functions.

Videos are chosen by their keys and labels alone, independent of any result: every trial of every
sweep over the same parts has the same queries, and no trial is shown by what it happens to do well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.confirmation import best_trials
from prp_core.data.manifest import VideoRecord
from prp_core.randomness import draw_bits

SHOWCASE_FILE = "showcase.html"


def trials_to_show(scores: Mapping[int, float], number: int, taken: int | None) -> list[int]:
    """The `number` best trials of `scores` (number -> objective), best first.

    The trial `taken`, which the sweep's encoder comes from, is always among them.
    """
    best = best_trials(scores, number)
    if not best or taken is None or taken in best:
        return best
    return [*best[:-1], taken]


def spread_over_classes(records: Sequence[VideoRecord]) -> list[int]:
    """The indices of all `records`, one of each class, then another of each class, and so on.

    Classes, and videos within a class, stand in the order of a hash of their names: it does not
    depend on which other videos there are.
    """
    by_class: dict[str, list[int]] = {}
    for index in sorted(range(len(records)), key=lambda index: _order("video", records[index].key)):
        by_class.setdefault(records[index].label or "", []).append(index)
    classes = [
        by_class[label] for label in sorted(by_class, key=lambda label: _order("class", label))
    ]
    rounds = range(max((len(videos) for videos in classes), default=0))
    return [videos[place] for place in rounds for videos in classes if place < len(videos)]


def _order(kind: str, name: str) -> tuple[int, str]:
    return draw_bits("showcase", kind, name), name
