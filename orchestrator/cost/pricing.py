"""The price of an hour that a sweep calculates with: the user's own, the price list's, or none."""

from __future__ import annotations

from pathlib import Path

from cluster.prices import (
    INSTANCE_VARIABLE,
    Price,
    PriceTable,
    price_of,
    read_machines,
    read_table,
)
from orchestrator.config.budget_config import UNITS
from orchestrator.config.run_config import RunConfig
from prp_core.errors import UserError


def find_price(config: RunConfig) -> Price | None:
    """The price on this cluster: the config's own, else the price list's; None if unknown.

    Raises `UserError` for a price list that cannot be read, and when there is a budget in dollars
    and no price.
    """
    resources = config.resources
    if resources.usd_per_gpu_hour or resources.usd_per_cpu_hour:
        return Price(
            resources.usd_per_gpu_hour, resources.usd_per_cpu_hour, "the config's own price"
        )
    table = price_list_of(config)
    try:
        machines = read_machines()
    except ValueError as error:
        raise UserError(str(error)) from None
    price = price_of(table, machines, needs_gpu=resources.gpus_per_worker > 0)
    if price is None and config.budget.usd:
        have = (
            f"the machines are {', '.join(map(str, machines))}, which are not on the price list"
            if machines
            else "the machines' types are unknown"
        )
        give = (
            f"set {INSTANCE_VARIABLE}=g5.2xlarge (or g5.2xlarge:spot), --set "
            "resources.usd_per_gpu_hour=1.2, or --prices FILE"
        )
        raise UserError(f"--budget-usd {config.budget.usd:g} needs a price, and {have}: {give}")
    return price


def price_list_of(config: RunConfig) -> PriceTable:
    """The price list that `config` names, else our own. Needs no cluster; raises `UserError` for
    one that cannot be read.
    """
    try:
        return read_table(Path(config.budget.prices)) if config.budget.prices else read_table()
    except ValueError as error:
        raise UserError(str(error)) from None


def money_line(config: RunConfig, price: Price | None) -> str:
    """What the sweep may spend and by which price, in one line."""
    limits = [
        f"{getattr(config.budget, unit):g} {name}"
        for unit, name in UNITS.items()
        if getattr(config.budget, unit)
    ]
    rate = "price unknown, the ledger counts hours"
    if price is not None:
        rate = (
            f"${price.usd_per_gpu_hour:.3g} a GPU-hour"
            if config.resources.gpus_per_worker
            else f"${price.usd_per_cpu_hour:.3g} a CPU-hour"
        )
        rate = f"{rate}: {price.basis}"
    return f"budget: {' and '.join(limits) or 'none'}; {rate}"
