"""The load of a node, from counters as Linux writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.trial.system_metrics import SystemMetrics

STAT = "cpu  {busy} 0 0 {idle} 100 0 0 0 0 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n"
MEMORY = "MemTotal:  1000000 kB\nMemFree:  1 kB\nMemAvailable:  250000 kB\n"
NETWORK = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes packets
    lo: 999 1 0 0 0 0 0 0 999 1 0 0 0 0 0 0
  eth0: {got} 1 0 0 0 0 0 0 {sent} 1 0 0 0 0 0 0
"""


def write(proc: Path, *, busy: int, idle: int, got: int, sent: int) -> None:
    (proc / "net").mkdir(exist_ok=True)
    (proc / "stat").write_text(STAT.format(busy=busy, idle=idle))
    (proc / "meminfo").write_text(MEMORY)
    (proc / "net" / "dev").write_text(NETWORK.format(got=got, sent=sent))


def test_load_is_what_happened_since_the_last_look(tmp_path: Path) -> None:
    write(tmp_path, busy=100, idle=100, got=1_000_000, sent=5_000_000)
    now = [0.0]
    metrics = SystemMetrics(lambda: now[0], tmp_path)
    now[0] = 9.0
    assert metrics.sample() == {}, "not yet"
    write(tmp_path, busy=175, idle=125, got=3_500_000, sent=5_000_000)
    now[0] = 10.0
    found = metrics.sample()
    assert found["system/cpu_utilization_percentage"] == 75.0
    assert found["system/system_memory_usage_percentage"] == 75.0
    assert found["system/system_memory_usage_megabytes"] == pytest.approx(768.0)
    assert found["system/network_receive_megabytes"] == 2.5
    assert found["system/network_transmit_megabytes"] == 0.0
    assert metrics.sample() == {}


def test_a_machine_without_counters_has_no_load(tmp_path: Path) -> None:
    metrics = SystemMetrics(clock=iter([0.0, 20.0]).__next__, proc=tmp_path / "none")
    assert not [name for name in metrics.sample() if not name.startswith("system/gpu_")]


def test_this_machine_says_something() -> None:
    found = SystemMetrics(clock=iter([0.0, 20.0]).__next__).sample()
    assert 0 < found["system/system_memory_usage_percentage"] < 100
