"""Prices: what an hour of a GPU or a CPU of this cluster costs, as far as that can be known.

The price list is a dated file (`prices.toml`, or one of the user's); the machines are known from
Ray's node labels, from an environment variable or from the `ray up` file. Where several kinds may
come up, the most expensive counts: a cost is better overestimated than a budget overrun. A cost
here is the price of the share of the machines that trials hold; the head, idle machines, disks and
traffic are not in it.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.capacity import CONFIG_VARIABLE, MISFORMED, text_of_config

INSTANCE_VARIABLE = "PRP_INSTANCE_TYPE"
INSTANCE_LABELS = ("prp.instance-type", "node.kubernetes.io/instance-type")
MARKET_LABELS = ("ray.io/market-type", "ray.io/node-group")
TABLE = Path(__file__).with_name("prices.toml")


@dataclass(frozen=True)
class Machine:
    """A kind of machine: its name in the price list, and whether it is a spot instance."""

    instance_type: str
    is_spot: bool = False

    def __str__(self) -> str:
        return f"{self.instance_type} {'spot' if self.is_spot else 'on demand'}"


@dataclass(frozen=True)
class ListedInstance:
    """A line of the price list: dollars an hour, and what the machine has."""

    on_demand: float
    spot: float
    gpus: int
    cpus: int


@dataclass(frozen=True)
class PriceTable:
    """The price list, with its date and where it is from."""

    as_of: str
    source: str
    instances: Mapping[str, ListedInstance]


@dataclass(frozen=True)
class Price:
    """Dollars for an hour of one GPU, or of one CPU of a machine without GPUs.

    A GPU comes with its share of the machine. `basis` says whose price it is and of when.
    """

    usd_per_gpu_hour: float
    usd_per_cpu_hour: float
    basis: str

    def usd(self, *, gpus: float, cpus: float, seconds: float) -> float:
        """The cost of holding `gpus` GPUs and `cpus` CPUs: by the GPU if there is one, else by the
        CPU.
        """
        hourly = gpus * self.usd_per_gpu_hour if gpus else cpus * self.usd_per_cpu_hour
        return hourly * seconds / 3600


def read_table(path: Path = TABLE) -> PriceTable:
    """The price list at `path`; raises a `ValueError` that says what is wrong with the file."""
    try:
        tree = tomllib.loads(path.read_text())
        share = float(tree.get("spot_share", 1.0))
        instances = {name: _listed(one, share) for name, one in tree["instances"].items()}
        return PriceTable(str(tree["as_of"]), str(tree["source"]), instances)
    except (OSError, *MISFORMED) as error:
        form = '"g5.2xlarge" = { on_demand = 1.2, spot = 0.5, gpus = 1, cpus = 8 }'
        needs = f"it needs as_of, source and [instances] with lines such as {form}"
        raise ValueError(
            f"price file {str(path)!r} is not readable ({error!r}); {needs}"
        ) from error


def _listed(line: Mapping[str, Any], spot_share: float) -> ListedInstance:
    on_demand = float(line["on_demand"])
    listed = ListedInstance(
        on_demand,
        float(line.get("spot", on_demand * spot_share)),
        int(line.get("gpus", 0)),
        int(line["cpus"]),
    )
    if min(listed.on_demand, listed.spot) <= 0 or listed.cpus < 1 or listed.gpus < 0:
        raise ValueError(f"{dict(line)} needs prices above 0 and at least 1 CPU")
    return listed


def price_of(table: PriceTable, machines: Sequence[Machine], *, needs_gpu: bool) -> Price | None:
    """The highest price among `machines` that can hold a trial; None if `table` names none."""
    prices = []
    for machine in machines:
        listed = table.instances.get(machine.instance_type)
        if listed is not None and (listed.gpus or not needs_gpu):
            hourly = listed.spot if machine.is_spot else listed.on_demand
            basis = f"{machine} at ${hourly:.3g} an hour ({table.source}; as of {table.as_of})"
            prices.append(
                Price(hourly / listed.gpus if listed.gpus else 0.0, hourly / listed.cpus, basis)
            )
    rate = (
        (lambda price: price.usd_per_gpu_hour)
        if needs_gpu
        else (lambda price: price.usd_per_cpu_hour)
    )
    return max(prices, key=rate, default=None)


def read_machines(environ: Mapping[str, str] = os.environ) -> list[Machine]:
    """The kinds of machine that the connected cluster has or may bring up; empty if not known.

    Looked for in this order: ``PRP_INSTANCE_TYPE`` (``g5.2xlarge`` or ``g5.2xlarge:spot``, several
    joined by commas), the labels of Ray's nodes (``prp.instance-type``, or the one that Kubernetes
    gives), the `ray up` file that ``PRP_AUTOSCALING_CONFIG`` names.
    """
    if environ.get(INSTANCE_VARIABLE):
        return parse_machines(environ[INSTANCE_VARIABLE])
    import ray

    labelled = labelled_machines([node.get("Labels", {}) for node in ray.nodes() if node["Alive"]])
    if not environ.get(CONFIG_VARIABLE):
        return labelled
    return labelled + machines_of_config(Path(environ[CONFIG_VARIABLE]).expanduser())


def parse_machines(text: str) -> list[Machine]:
    """``g5.2xlarge:spot,g5.2xlarge`` as machines."""
    parts = [part.strip().partition(":") for part in text.split(",") if part.strip()]
    return [Machine(name, market == "spot") for name, _, market in parts]


def labelled_machines(labels_of_nodes: Sequence[Mapping[str, str]]) -> list[Machine]:
    """The machines that nodes' labels name, each once.

    A machine whose market or node group has "spot" in its name is a spot instance.
    """
    machines = []
    for labels in labels_of_nodes:
        name = next((labels[label] for label in INSTANCE_LABELS if labels.get(label)), "")
        if name:
            machines.append(
                Machine(name, any("spot" in labels.get(label, "") for label in MARKET_LABELS))
            )
    return list(dict.fromkeys(machines))


def machines_of_config(path: Path) -> list[Machine]:
    """The worker machines of a `ray up` file for AWS; empty for a file of another cloud.

    Raises `ValueError` for a file that it cannot read.
    """
    import yaml  # a dependency of Ray's own

    try:
        config = yaml.safe_load(text_of_config(path))
        kinds = [
            one.get("node_config", {})
            for name, one in config["available_node_types"].items()
            if name != config["head_node_type"]
        ]
        return [
            Machine(str(one["InstanceType"]), "InstanceMarketOptions" in one)
            for one in kinds
            if "InstanceType" in one
        ]
    except (OSError, yaml.YAMLError, *MISFORMED) as error:
        raise ValueError(
            f"{CONFIG_VARIABLE} = {str(path)!r}: not a readable `ray up` file "
            f"({type(error).__name__}: {' '.join(str(error).split())[:200]})"
        ) from error
