"""Records of a sweep folded by run: what is overwritten later is not sent to MLflow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.tracking.recorded import Record, state_at_end
from orchestrator.tracking.run_names import SWEEP_RUN

Point = tuple[str, float, int]  # metric, value, step
Numbered = tuple[int, Record]  # a record and its place among all


@dataclass
class RunBatch:
    """Records of one run, folded: what is overwritten later is not sent."""

    run: str
    first: int
    start: Record | None = None
    points: list[Point] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    texts: dict[str, Record] = field(default_factory=dict)
    models: dict[str, Record] = field(default_factory=dict)
    experiment_tags: dict[str, str] = field(default_factory=dict)
    descriptions: dict[str, str] = field(default_factory=dict)
    state: Record | None = None

    def add(self, one: Record) -> None:
        """Fold in a further record."""
        what = one["what"]
        if what == "start":
            self.start = self.state = one
        elif what == "end":
            self.state = one
        elif what == "points":
            step = int(one["step"])
            self.points += [(name, value, step) for name, value in one["metrics"].items()]
        elif what == "tags":
            self.tags.update(one["tags"])
        elif what == "experiment":
            self.experiment_tags.update(one["tags"])
        elif what == "file":
            self.texts[one["path"]] = one
        elif what == "model":
            self.models[one["name"]] = one
        elif what == "describe":
            self.descriptions[one["name"]] = one["text"]


def batches_of(records: Sequence[Numbered]) -> Iterator[RunBatch | Record]:
    """`records` by run, the parent's first; an ``end_all`` stands alone between those before it
    and those after it.
    """
    batches: dict[str, RunBatch] = {}
    for number, one in records:
        if one["what"] == "end_all":
            yield from _parent_first(batches)
            batches = {}
            yield one
        else:
            run = one["run"]
            batches.setdefault(run, RunBatch(run, number)).add(one)
    yield from _parent_first(batches)


def records_of(run: str, records: Sequence[Numbered]) -> list[Numbered]:
    """Those of `records` that are about `run`, which runs at the first of them; an ``end_all`` ends
    it where it still runs then.
    """
    found = []
    is_open = True
    for number, one in records:
        if one.get("run") == run:
            is_open = one["what"] != "end" and (is_open or one["what"] == "start")
            found.append((number, one))
        elif one["what"] == "end_all" and is_open:
            is_open = False
            its_end = {**one, "what": "end", "run": run, "state": state_at_end(one, run)}
            found.append((number, its_end))
    return found


def _parent_first(batches: Mapping[str, RunBatch]) -> list[RunBatch]:
    return sorted(batches.values(), key=lambda batch: batch.run != SWEEP_RUN)
