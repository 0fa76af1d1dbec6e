"""The weights of a rung are stored beside training, and submitted once they are there."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.trial.messages import Sender
from orchestrator.trial.worker import RungSubmitter
from prp_core.data.object_store import LocalStore, ObjectInfo
from prp_core.errors import StoreUnavailable
from prp_core.training.rung_weights import list_rungs, read_rung

WEIGHTS = {"stem.weight": torch.arange(6.0)}


class HeldStore(LocalStore):
    """Answers a write once `go_on` is set; raises `breaks_with` instead, if there is one."""

    def __init__(self, root: Path, breaks_with: Exception | None = None) -> None:
        super().__init__(root)
        self.go_on = threading.Event()
        self.breaks_with = breaks_with

    def write(self, key: str, data: bytes | Path, **conditions: Any) -> ObjectInfo:
        assert self.go_on.wait(60.0), "training waits for this write"
        if self.breaks_with is not None:
            raise self.breaks_with
        return super().write(key, data, **conditions)


class Desk:
    """A trial desk that keeps the rungs that are submitted to it."""

    def __init__(self) -> None:
        self.rungs: list[tuple[int, int, str]] = []
        self.submit_rung = self

    def remote(self, sender: Sender, epoch: int, step: int, key: str) -> None:
        self.rungs.append((epoch, step, key))


def test_training_goes_on_while_a_rungs_weights_are_written(tmp_path: Path) -> None:
    store, desk = HeldStore(tmp_path), Desk()
    submitter = RungSubmitter(desk, Sender(0, 1, 1), store, "rungs")  # type: ignore[arg-type]
    submitter.submit_rung(epoch=1, step=10, weights=WEIGHTS)
    submitter.submit_rung(epoch=3, step=30, weights=WEIGHTS)
    assert desk.rungs == [], "nothing is stored yet, and nobody waits"
    store.go_on.set()
    submitter.flush()
    stored = list_rungs(store, "rungs")
    assert desk.rungs == [(rung.epoch, rung.step, rung.key) for rung in stored]
    assert [(epoch, step) for epoch, step, _ in desk.rungs] == [(1, 10), (3, 30)]
    assert torch.equal(read_rung(store, stored[0].key)["stem.weight"], WEIGHTS["stem.weight"])


@pytest.mark.parametrize("asks", [True, False], ids=["when-asked", "at-the-end"])
def test_a_write_that_failed_is_raised_on_the_training_thread(tmp_path: Path, asks: bool) -> None:
    store, desk = HeldStore(tmp_path, StoreUnavailable("s3://b: throttled")), Desk()
    submitter = RungSubmitter(desk, Sender(0, 1, 1), store, "rungs")  # type: ignore[arg-type]
    store.go_on.set()
    submitter.submit_rung(epoch=1, step=10, weights=WEIGHTS)
    submitter._writes[0].exception()
    with pytest.raises(StoreUnavailable, match="throttled"):
        submitter.should_stop() if asks else submitter.flush()
    assert desk.rungs == []
