"""The durable queue: order, take-over from ended writers, and a full disk."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.tracking.spool import Spool

PLACE = "http://tracker:5000"


def drain(spool: Spool) -> list[dict[str, Any]]:
    records = []
    while some := spool.read():
        records += some
        spool.commit()
    return records


def test_a_spool_gives_records_in_order_and_again_until_they_are_committed(tmp_path: Path) -> None:
    spool = Spool(tmp_path, PLACE)
    records = [{"step": step, "text": "x" * 1000} for step in range(1000)]
    for record in records:
        spool.append(record)
    first = spool.read()
    assert 0 < len(first) < 1000
    assert spool.read() == first
    assert drain(spool) == records
    assert spool.num_appended == spool.num_committed == 1000
    assert spool.path.stat().st_size < 100
    spool.append({"step": 1000, "text": "y" * 1_000_000})
    assert [record["step"] for record in drain(spool)] == [1000]
    spool.close()
    assert not spool.path.exists()


def test_a_spool_takes_over_from_the_dead_but_not_from_the_living(tmp_path: Path) -> None:
    dead, living, elsewhere = (
        Spool(tmp_path, PLACE),
        Spool(tmp_path, PLACE),
        Spool(tmp_path, "sqlite:////other.db"),
    )
    for number, spool in enumerate((dead, living, elsewhere)):
        spool.append({"from": number})
    with dead.path.open("ab") as file:
        file.write(b'{"from": 0, "half a rec')
    dead.close()
    elsewhere.close()
    seen: list[Mapping[str, Any]] = []
    heir = Spool(tmp_path, PLACE, seen.append)
    assert drain(heir) == seen == [{"from": 0}]
    assert not dead.path.exists()
    assert elsewhere.path.exists()
    assert drain(living) == [{"from": 1}]


def test_a_full_disk_is_an_error_and_leaves_whole_records_only(tmp_path: Path) -> None:
    code = (
        "import resource, signal, sys; from pathlib import Path; from "
        "orchestrator.tracking.spool import Spool\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "spool = Spool(Path(sys.argv[1]), 'place')\n"
        "try:\n    for step in range(100): spool.append({'step': step, 'text': 'x' * 300})\n"
        "except OSError: print(step)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    heir = Spool(tmp_path, "place")
    assert [record["step"] for record in drain(heir)] == list(range(int(done.stdout)))
    assert int(done.stdout) >= 1
