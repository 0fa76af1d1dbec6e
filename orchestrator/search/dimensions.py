"""Dimensions that several studies share: sets of playback rates, and matching upsampling factors.

The name of a dimension is a path of the config tree. A suffix after ``@`` names a branch
(``clip.length@short``): a database refuses a name whose choices change, so the same path has a name
of its own wherever its choices differ. A name that begins with ``@`` is a choice of the space
itself and reaches no config. Rate sets are text, because tuples do not survive in a database.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from prp_core.checks import check
from prp_core.pretext.playback_rate import parse_rates

RATES = "pretext.playback_rate.rates"
UPSAMPLING = "pretext.slow_motion.upsampling"


def suggest_rate_set(trial: Any, candidates: Sequence[str]) -> str:
    """One of `candidates`, each a rate set as text. Raises `UserError` for one that is none."""
    for text in candidates:
        parse_rates(text, "candidates")
    return trial.suggest_categorical(RATES, list(candidates))  # type: ignore[no-any-return]


def suggest_generated_rate_set(
    trial: Any, *, sizes: Sequence[int] = (2, 3, 4), largest: int = 8, powers: bool | None = None
) -> str:
    """A rate set of one of `sizes`, with no rate above `largest`.

    `powers` True: of powers of two; False: of any whole numbers; None: the trial chooses. The size
    is drawn first, then the set among all of that size. Raises `UserError` when there is no such
    set.
    """
    only_powers = (
        trial.suggest_categorical("@rates.powers", [True, False]) if powers is None else powers
    )
    kind = "powers" if only_powers else "any"
    sets = {size: rate_sets(size, largest, powers=only_powers) for size in sizes}
    possible = [size for size in sizes if sets[size]]
    what = "powers of two" if only_powers else "rates"
    check(
        bool(possible),
        "sizes",
        tuple(sizes),
        f"no set holds so many {what} up to {largest}; name smaller sizes",
    )
    size = (
        trial.suggest_categorical(f"@rates.size.{kind}", possible)
        if len(possible) > 1
        else possible[0]
    )
    name = f"{RATES}@{kind}-{size}-to-{largest}"
    return trial.suggest_categorical(name, sets[size])  # type: ignore[no-any-return]


def rate_sets(size: int, largest: int, *, powers: bool) -> list[str]:
    """Every rate set of `size` rates up to `largest`, as text, in ascending order."""
    check(
        size >= 2,
        "size of a rate set",
        size,
        "must be at least 2: one rate leaves nothing to tell apart",
    )
    pool = [rate for rate in range(1, largest + 1) if not powers or rate & (rate - 1) == 0]
    return ["-".join(map(str, rates)) for rates in itertools.combinations(pool, size)]


def suggest_upsampling(trial: Any, rates: str, candidates: Sequence[int] = (1, 2, 4)) -> int:
    """An upsampling factor that is legal with the rate set `rates` (method 1.5).

    See `legal_upsamplings`. Raises `UserError` when none of `candidates` is.
    """
    legal = legal_upsamplings(rates, candidates)
    check(
        bool(legal),
        "candidates",
        tuple(candidates),
        f"none supervises a frame in between at any rate of {rates}; offer 1 or a "
        "divisor of a rate",
    )
    name = f"{UPSAMPLING}@{'-'.join(map(str, legal))}"
    return trial.suggest_categorical(name, legal)  # type: ignore[no-any-return]


def legal_upsamplings(rates: str, candidates: Sequence[int]) -> list[int]:
    """The `candidates` that supervise a frame in between: 1 (an auto-encoder), or r with
    gcd(r, rate) > 1 for some rate of the set.

    At a rate s, T x gcd(r, s) of the r x T target frames are native ones, and only those are
    supervised. Where the gcd is 1 for every rate, the decoder would be paid r times over for
    reconstructing its own input.
    """
    numbers = parse_rates(rates)
    return [r for r in candidates if r == 1 or any(math.gcd(r, rate) > 1 for rate in numbers)]


def config_values(sampled: Mapping[str, Any]) -> dict[str, Any]:
    """A trial's sampled values by path of the config.

    Branches' names become paths, and the space's own choices are left out.
    """
    return {
        name.partition("@")[0]: value for name, value in sampled.items() if not name.startswith("@")
    }
