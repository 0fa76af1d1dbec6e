"""Prices: which machine counts, what a trial's share of it costs, and errors where none is."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.prices import (
    Machine,
    Price,
    labelled_machines,
    machines_of_config,
    parse_machines,
    price_of,
    read_machines,
    read_table,
)

TABLE = """
as_of = "2020-01"
source = "made up"
spot_share = 0.5
[instances]
big = { on_demand = 8.0, gpus = 4, cpus = 32 }
small = { on_demand = 1.0, spot = 0.25, gpus = 1, cpus = 4 }
plain = { on_demand = 0.4, gpus = 0, cpus = 4 }
"""
REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def table_path(tmp_path: Path) -> Path:
    path = tmp_path / "prices.toml"
    path.write_text(TABLE)
    return path


@pytest.mark.parametrize(
    ("machines", "needs_gpu", "rate"),
    [
        ([Machine("big")], True, 2.0),
        ([Machine("big", is_spot=True)], True, 1.0),
        ([Machine("small", is_spot=True)], True, 0.25),
        ([Machine("small", is_spot=True), Machine("small")], True, 1.0),
        ([Machine("plain")], True, None),
        ([Machine("plain"), Machine("small", is_spot=True)], False, 0.1),
        ([Machine("unheard-of")], True, None),
        ([], False, None),
    ],
)
def test_the_dearest_machine_that_holds_a_trial_counts(
    table_path: Path, machines: list[Machine], needs_gpu: bool, rate: float | None
) -> None:
    price = price_of(read_table(table_path), machines, needs_gpu=needs_gpu)
    found = (
        None if price is None else price.usd_per_gpu_hour if needs_gpu else price.usd_per_cpu_hour
    )
    assert found == rate
    if price is not None:
        assert "made up; as of 2020-01" in price.basis


def test_a_trial_pays_for_gpus_where_it_has_any_else_for_cpus() -> None:
    price = Price(2.0, 0.1, "test")
    assert price.usd(gpus=2, cpus=8, seconds=1800) == 2.0
    assert price.usd(gpus=0, cpus=8, seconds=1800) == pytest.approx(0.4)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "as_of = '2020'",
        TABLE.replace("cpus = 4", "cpus = 0"),
        TABLE.replace("0.4", "-1"),
        "not toml [",
    ],
)
def test_a_broken_price_file_is_named_with_the_form_that_it_needs(
    tmp_path: Path, text: str
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(
        ValueError, match=r"mine\.toml' is not readable .* needs as_of, source and \[instances\]"
    ):
        read_table(path)


def test_our_own_list_is_dated_and_holds_the_machines_of_our_cluster_file() -> None:
    table = read_table()
    assert table.as_of and "check your own" in table.source
    machines = machines_of_config(REPOSITORY / "cluster" / "aws" / "cluster.yaml")
    assert machines == [Machine("g5.2xlarge", is_spot=True), Machine("g5.2xlarge")]
    price = price_of(table, machines, needs_gpu=True)
    assert price is not None and price.usd_per_gpu_hour == table.instances["g5.2xlarge"].on_demand


def test_machines_are_told_by_a_variable_or_by_labels() -> None:
    assert read_machines({"PRP_INSTANCE_TYPE": "g5.xlarge:spot, g5.xlarge"}) == [
        Machine("g5.xlarge", is_spot=True),
        Machine("g5.xlarge"),
    ]
    assert parse_machines("m6i.xlarge") == [Machine("m6i.xlarge")]
    labels = [
        {"prp.instance-type": "g5.xlarge", "ray.io/node-group": "gpu_spot"},
        {"prp.instance-type": "g5.xlarge", "ray.io/node-group": "gpu_spot"},
        {"node.kubernetes.io/instance-type": "g6.xlarge", "ray.io/market-type": "on-demand"},
        {"ray.io/node-group": "headgroup"},
    ]
    assert labelled_machines(labels) == [Machine("g5.xlarge", is_spot=True), Machine("g6.xlarge")]
