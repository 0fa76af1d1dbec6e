"""A checkpoint is whole or it is not there, whatever goes wrong and whenever."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from prp_core.agreement import OtherWorkerFailed
from prp_core.data.object_store import LocalStore, ObjectInfo
from prp_core.errors import CorruptObject, StoreUnavailable
from prp_core.training.checkpoint import (
    Checkpoint,
    CheckpointFolder,
    from_bytes,
    to_bytes,
)
from prp_core.training.checkpoint_keys import COMMIT_NAME
from prp_core.world import World
from tests.worker_group import run_workers

ALONE = World.alone()


class Interrupted(Exception):
    """The process dies here."""


class FragileStore:
    """A folder that dies at its n-th write or delete, before doing it or right after (the reply is
    lost); `reads_fail` cuts it off.
    """

    def __init__(self, inner: LocalStore, *, dies_at: int = 1 << 30, after: bool = False) -> None:
        self.inner = inner
        self.dies_at = dies_at
        self.after = after
        self.num_changes = 0
        self.reads_fail = False

    @property
    def uri(self) -> str:
        return self.inner.uri

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return self.inner.list(prefix)

    def read(
        self, key: str, *, start: int = 0, num_bytes: int | None = None, etag: str | None = None
    ) -> Iterator[bytes]:
        if self.reads_fail:
            raise StoreUnavailable(f"{self.uri}/{key}: no answer")
        return self.inner.read(key, start=start, num_bytes=num_bytes, etag=etag)

    def write(
        self,
        key: str,
        data: bytes | Path,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> ObjectInfo:
        self._maybe_die(self.after is False)
        info = self.inner.write(key, data, if_absent=if_absent, if_match=if_match)
        self._maybe_die(self.after is True, count=False)
        return info

    def delete(self, key: str) -> None:
        self._maybe_die(self.after is False)
        self.inner.delete(key)
        self._maybe_die(self.after is True, count=False)

    def _maybe_die(self, here: bool, count: bool = True) -> None:
        self.num_changes += count
        if here and self.num_changes == self.dies_at:
            raise Interrupted


def files_of(step: int) -> dict[str, bytes]:
    return {"common.pt": f"common {step}".encode() * 100, "rank-0.pt": f"rank {step}".encode() * 50}


def save(store: Any, step: int, num_kept: int = 2) -> Checkpoint:
    return CheckpointFolder(store, "run/checkpoints", num_kept=num_kept).save(
        step, files_of(step), facts={"epoch": step}, world=ALONE
    )


def latest(store: Any) -> Checkpoint | None:
    return CheckpointFolder(store, "run/checkpoints").latest_committed()


def expect_whole(store: Any, checkpoint: Checkpoint | None, step: int) -> None:
    assert (
        checkpoint is not None and checkpoint.step == step and checkpoint.facts == {"epoch": step}
    )
    folder = CheckpointFolder(store, "run/checkpoints")
    assert {part.name: folder.read(checkpoint, part.name) for part in checkpoint.parts} == files_of(
        step
    )


def test_nothing_saved_is_nothing_found(tmp_path: Path) -> None:
    assert latest(LocalStore(tmp_path)) is None


def test_what_is_saved_is_read(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    saved = save(store, 7)
    found = latest(store)
    expect_whole(store, found, 7)
    assert found == saved and found.skipped == ()
    assert found.part("common.pt") is not None and found.part("rank-1.pt") is None


def test_the_newest_are_kept_and_nothing_else(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    for step in (9, 10, 100, 1000):
        save(store, step)
    folders = sorted({info.key.split("/")[2] for info in store.list("run/checkpoints/step-")})
    assert folders == ["step-0000000100", "step-0000001000"]
    expect_whole(store, latest(store), 1000)


@pytest.mark.parametrize("after", [False, True], ids=["not-done", "reply-lost"])
def test_dying_at_any_change_leaves_a_whole_checkpoint(tmp_path: Path, after: bool) -> None:
    """Two checkpoints are kept, so saving the third writes parts, commits, and removes the first:
    each of these is interrupted once.
    """
    num_seen = 0
    for dies_at in range(1, 100):
        inner = LocalStore(tmp_path / str(dies_at))
        save(inner, 10), save(inner, 20)
        fragile = FragileStore(inner, dies_at=dies_at, after=after)
        try:
            save(fragile, 30)
        except Interrupted:
            num_seen += 1
            found = latest(inner)
            assert found is not None
            expect_whole(inner, found, found.step)
            assert found.step in (20, 30) and found.skipped == ()
            save(inner, 30)  # the next attempt repeats the step
            expect_whole(inner, latest(inner), 30)
            assert len(list(inner.list())) == 7, (
                "the record, two checkpoints of two parts and a commit; no litter"
            )
        else:
            break
    assert num_seen == 7, "2 parts, 1 commit, the record, then 1 commit and 2 parts removed"


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    if how == "gone":
        path.unlink()
    elif how == "torn":
        path.write_bytes(data[: len(data) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    else:
        path.write_bytes(data[:20] + bytes([data[20] ^ 1]) + data[21:])


@pytest.mark.parametrize("how", ["gone", "torn", "empty", "bit-flipped"])
@pytest.mark.parametrize("name", ["common.pt", "rank-0.pt", COMMIT_NAME])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    tmp_path: Path, name: str, how: str
) -> None:
    store = LocalStore(tmp_path)
    save(store, 10), save(store, 20)
    damage(next(tmp_path.glob(f"run/checkpoints/step-0000000020/*{name}")), how)
    found = latest(store)
    expect_whole(store, found, 10)
    assert found is not None
    if not (name == COMMIT_NAME and how == "gone"):  # then nobody ever promised step 20
        assert len(found.skipped) == 1 and "step-0000000020" in found.skipped[0]
    save(store, 15)
    expect_whole(store, latest(store), 15)
    save(store, 20)
    expect_whole(store, latest(store), 20)


def test_an_altered_fact_is_noticed(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    save(store, 10), save(store, 20)
    path = tmp_path / "run/checkpoints/step-0000000020" / COMMIT_NAME
    document = json.loads(path.read_text())
    document["checkpoint"]["facts"]["epoch"] = 21
    path.write_text(json.dumps(document))
    expect_whole(store, latest(store), 10)


def test_only_damaged_checkpoints_are_an_error_not_a_fresh_start(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    save(store, 10)
    damage(next(tmp_path.glob("run/checkpoints/*/*common.pt")), "torn")
    with pytest.raises(CorruptObject, match="holds 1 checkpoints and none is whole"):
        latest(store)


def test_a_store_that_does_not_answer_is_an_error_not_a_fresh_start(tmp_path: Path) -> None:
    fragile = FragileStore(LocalStore(tmp_path))
    save(fragile, 10)
    fragile.reads_fail = True
    with pytest.raises(StoreUnavailable, match="no answer"):
        latest(fragile)


def test_a_part_that_the_store_shortened_is_never_committed(tmp_path: Path) -> None:
    class Lossy(LocalStore):
        def write(self, key: str, data: bytes | Path, **conditions: Any) -> ObjectInfo:
            assert isinstance(data, bytes)
            return super().write(
                key, data[:-1] if key.endswith("rank-0.pt") else data, **conditions
            )

    save(LocalStore(tmp_path), 10)
    with pytest.raises(CorruptObject, match=r"rank-0\.pt: 349 bytes"):
        save(Lossy(tmp_path), 20)
    expect_whole(LocalStore(tmp_path), latest(LocalStore(tmp_path)), 10)


def test_nothing_is_read_while_a_checkpoint_is_written(tmp_path: Path) -> None:
    fragile = FragileStore(LocalStore(tmp_path))
    save(fragile, 10)
    reads: list[str] = []
    real = fragile.read

    def read(key: str, **where: Any) -> Iterator[bytes]:
        reads.append(key)
        return real(key, **where)

    fragile.read = read  # type: ignore[method-assign]
    folder = CheckpointFolder(fragile, "run/checkpoints")
    folder.save(20, files_of(20), facts={"epoch": 20}, world=ALONE)
    folder.save(30, files_of(30), facts={"epoch": 30}, world=ALONE)
    assert set(reads) <= {"run/checkpoints/committed.json"}, "the record alone, once"
    assert len(reads) <= 1
    expect_whole(fragile.inner, latest(fragile.inner), 30)


@pytest.mark.parametrize("has_record", [True, False])
def test_what_somebody_else_put_there_is_passed_over(tmp_path: Path, has_record: bool) -> None:
    store = LocalStore(tmp_path)
    save(store, 10), save(store, 20)
    folder = tmp_path / "run/checkpoints"
    if not has_record:
        (folder / "committed.json").unlink()
    foreign = ["step-0000000030/copy/commit.json", "step-old/commit.json", "step-/commit.json"]
    for name in foreign:
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("not ours")
    for step, text in (
        (40, "[" * 100_000),
        (50, (folder / "step-0000000020/commit.json").read_text()),
    ):
        (folder / f"step-{step:010d}").mkdir()
        (folder / f"step-{step:010d}/commit.json").write_text(text)
    expect_whole(store, latest(store), 20)
    save(store, 60)
    expect_whole(store, latest(store), 60)
    assert all((folder / name).exists() for name in foreign)


def test_a_state_that_would_run_code_is_refused(tmp_path: Path) -> None:
    state: dict[str, Any] = {
        "weights": torch.arange(3.0),
        "step": 5,
        "nested": {"rates": [0.1, 0.2]},
    }
    back = from_bytes(to_bytes(state))
    assert (
        back["step"] == 5
        and back["nested"] == {"rates": [0.1, 0.2]}
        and torch.equal(back["weights"], state["weights"])
    )
    with pytest.raises(Exception, match=r"[Uu]nsupported|[Ww]eights.only"):
        from_bytes(to_bytes({"path": Path("/tmp")}))


def save_as_worker(world: World, folder: str, fails: bool) -> dict[str, Any]:
    """Each of two workers writes its part; the second one's store dies at its first write if
    `fails`.
    """
    local = LocalStore(folder)
    store: Any = FragileStore(local, dies_at=1) if fails and world.rank == 1 else local
    checkpoints = CheckpointFolder(store, "c")
    files = {f"rank-{world.rank}.pt": bytes([world.rank]) * 100} | (
        {"common.pt": b"all"} if world.is_first else {}
    )
    try:
        checkpoints.save(3, files, facts={}, world=world)
        error = ""
    except (Interrupted, OtherWorkerFailed) as raised:
        error = f"{type(raised).__name__}: {raised}"
    found = CheckpointFolder(local, "c").latest_committed(world)
    return {"error": error, "parts": [part.name for part in found.parts] if found else []}


def test_two_workers_commit_together_or_not_at_all(tmp_path: Path) -> None:
    failed = run_workers(save_as_worker, tmp_path / "failing", str(tmp_path / "store"), True)
    assert failed[0] == {
        "error": "OtherWorkerFailed: worker 1 failed while writing the checkpoint of step 3: "
        "Interrupted: ",
        "parts": [],
    }
    assert failed[1] == {"error": "Interrupted: ", "parts": []}
    done = run_workers(save_as_worker, tmp_path / "well", str(tmp_path / "store"), False)
    assert done == [{"error": "", "parts": ["common.pt", "rank-0.pt", "rank-1.pt"]}] * 2
